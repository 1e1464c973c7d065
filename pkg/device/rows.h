#ifndef DESCANT_ROWS_H
#define DESCANT_ROWS_H

#include "ffi.h"

// rows_arrange writes x [rows, in] bf16 or f32 as a product uses it: in parts(rows, together) groups of rows, as part_begins divides them, and of each
// group one input after the other, of each the values of all rows. That is one stream through the cache, where rows one after the other would be as many as
// go through a matrix together. The values are f32, or with pairs, of bf16 only, two inputs each. It returns 0 if there is no memory.
int rows_arrange(const call_frame *, void *to, const buffer *x, int64_t together, int pairs);

#endif
