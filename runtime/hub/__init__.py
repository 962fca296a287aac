"""Models and directions of the Hugging Face hub: addresses, the cache, fetching with every check, and pushing.

Nothing here reaches for the network unless an address such as hf:USER/NAME was given, and only `client` imports
huggingface_hub.
"""
