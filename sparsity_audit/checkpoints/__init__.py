"""Safe reading and writing of weight files; never runs code from one."""
