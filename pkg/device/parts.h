// How rows, inputs and the cache are divided.

#ifndef DESCANT_PARTS_H
#define DESCANT_PARTS_H

#include <stdint.h>

// LINE is how many bytes a line of the cache has.
enum { LINE = 64 };

// parts is how many of that size, or smaller, n has.
static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

// group is how many go next, of those that are left and of which at most so many go together: groups as equal as can be.
static inline int64_t group(int64_t left, int64_t together) { return parts(left, parts(left, together)); }

static inline int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

#endif
