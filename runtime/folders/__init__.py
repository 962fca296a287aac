"""What the commands do, as one call each: whole folders of files in; results, log and skipped inputs out.

Every function takes paths (files, folders, glob patterns), writes below `out` through the engine in `runtime/batch`,
and continues where an earlier call stopped. The commands are these calls with a progress bar.
"""
