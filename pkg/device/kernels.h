#ifndef DESCANT_KERNELS_H
#define DESCANT_KERNELS_H

#include <stdint.h>

enum { DESCANT_KERNELS = 8 };

// descant_register_kernels makes the functions of bgmv.c, attend.c, packed.c, both of linear.c, that of adapted.c and both of flash.c known, under names in this order, to the XLA
// plugin of that path, which must be open. They use that many threads at most. It returns NULL, or why not, for ever.
const char *descant_register_kernels(const char *plugin, const char *const names[DESCANT_KERNELS], int64_t threads);

// descant_products tells how packed.c and linear.c multiply bf16 best on this processor: in f32, in pairs of bf16 (linear.c only), or not at all, as they
// have no vectors for it.
enum { DESCANT_OTHER, DESCANT_F32, DESCANT_PAIRS };
int descant_products(void);

// DESCANT_HEAD is how many values a head may have in flash.c.
enum { DESCANT_HEAD = 256 };

#endif
