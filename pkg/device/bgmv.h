#ifndef DESCANT_BGMV_H
#define DESCANT_BGMV_H

#include "ffi.h"

// bgmv_job gives the work of a call that has x, ranges, A and the Bs of so many modules for operands, and as many results: what WithKernels in kernels.go
// says. It returns what is wrong, or NULL.
const char *bgmv_job(job **, buffer *const *operands, buffer *const *results, int64_t modules);

#endif
