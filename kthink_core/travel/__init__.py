"""Files that travel: experiments received from others, Goodfire's layout, notes along with them, and older stores.

A received file runs nothing here and is not believed: `received` opens it, `own_export` and `goodfire_files` check what
they read of it, `imports` makes an experiment like any other of it, journal and all.
"""
