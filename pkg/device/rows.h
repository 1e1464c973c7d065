#ifndef DESCANT_ROWS_H
#define DESCANT_ROWS_H

#include "ffi.h"

// rows_stride is how far apart rows of so many f32 are to lie.
int64_t rows_stride(int64_t in);

// rows_widen writes x [rows, in] bf16 or f32 as f32, rows_stride(in) apart. It returns 0 if there is no memory.
int rows_widen(const call_frame *, float *to, const buffer *x);

#endif
