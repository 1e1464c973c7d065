package device

/*
#include <malloc.h>
#ifdef __GLIBC__
// XLA's CPU client allocates the temporary memory of every execution anew, and glibc gives chunks of that size back to
// the kernel at once: each product of bf16 matrices, which are repacked there, then takes thousands of page faults, which
// cost more time than the product. So there is one arena, which keeps what is freed (mallopt(3)). This runs before Go's
// runtime starts, since a thread that has an arena of its own keeps it.
__attribute__((constructor)) static void keep_freed_memory(void) {
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, 0x7fffffff);
}

static void give_back(void) { malloc_trim(0); }
#else
static void give_back(void) {}
#endif
*/
import "C"

// GiveBackFreed gives the system the memory that malloc keeps of what was freed. That is worth it after the compilation of a program, whose many small pieces
// leave room for little else.
func GiveBackFreed() { C.give_back() }
