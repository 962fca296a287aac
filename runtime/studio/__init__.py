"""The studio: editing photographs in the browser. Needs the extra `studio`."""
