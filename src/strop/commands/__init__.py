"""The commands of `strop`, one file each: `add(parser)` declares its flags, `run(args)` does it. Imported when asked for."""
