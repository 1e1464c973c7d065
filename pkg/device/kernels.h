#ifndef DESCANT_KERNELS_H
#define DESCANT_KERNELS_H

#include <stdint.h>

enum { DESCANT_KERNELS = 5 };

// descant_register_kernels makes the functions of bgmv.c, attend.c, packed.c and both of linear.c known under their names to the XLA plugin of
// that path, which must be open. They use that many threads at most. It returns NULL, or why not, for ever.
const char *descant_register_kernels(const char *plugin, const char *const names[DESCANT_KERNELS], int64_t threads);

// What a processor does best with products of bf16: it has no vectors for which they were made here, multiplies them in f32, or as pairs of bf16.
enum { DESCANT_OTHER, DESCANT_F32, DESCANT_PAIRS };
int descant_products(void);

#endif
