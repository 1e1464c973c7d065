#ifndef DESCANT_FLASH_H
#define DESCANT_FLASH_H

#include "ffi.h"

// flash_cached computes the attention of several new tokens of each row: a call of attend.c, which has seen that its operands go together. It returns NULL, or what
// is wrong.
const char *flash_cached(const call_frame *);

#endif
