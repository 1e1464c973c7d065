#ifndef DESCANT_KERNELS_H
#define DESCANT_KERNELS_H

#include <stdint.h>

// descant_register_kernels makes the functions of bgmv.c, attend.c and packed.c known under their names to the XLA plugin of that path, which must
// be open. They use that many threads at most. It returns NULL, or why not, for ever.
const char *descant_register_kernels(const char *plugin, const char *bgmv, const char *attend, const char *packed, int64_t threads);

// descant_fast_packed tells whether packed.c has vectors of this processor.
int descant_fast_packed(void);

#endif
