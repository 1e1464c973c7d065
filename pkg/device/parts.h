// How rows, inputs and the cache are divided.

#ifndef DESCANT_PARTS_H
#define DESCANT_PARTS_H

#include <stdint.h>

// LINE is how many bytes a line of the cache has.
enum { LINE = 64 };

// parts is how many of that size, or smaller, n has.
static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

// part_begins is where a part begins, of n that are divided into parts as equal as can be.
static inline int64_t part_begins(int64_t n, int64_t parts, int64_t part) { return n * part / parts; }

static inline int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

#endif
