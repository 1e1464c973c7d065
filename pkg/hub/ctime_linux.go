package hub

import "syscall"

// statChanged returns the time of the last change of an inode, in nanoseconds.
func statChanged(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
