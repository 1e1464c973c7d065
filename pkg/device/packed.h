#ifndef DESCANT_PACKED_H
#define DESCANT_PACKED_H

#include "ffi.h"

// packed_job gives the work of the product of x with a packed matrix, for which it has brought x into order. It returns what is wrong, or NULL.
const char *packed_job(const call_frame *, job **, const buffer *x, const buffer *matrix, const buffer *y);

#endif
