// Rows as a product uses them.

#include "parts.h"
#include "rows.h"

#include <stdlib.h>

// ALONE is how many values one thread arranges while another would wake up.
enum { ALONE = 1 << 16 };

typedef struct {
	job job; // a piece is a group
	const void *from;
	uint32_t *to;
	int64_t rows, in, words; // a word is a value of f32 or a pair of bf16
	int widens;
} arrangement;

// arrange writes so many words of some rows; the compiler makes one for each number of rows.
static inline __attribute__((always_inline)) void arrange(uint32_t *to, const uint32_t *from, int64_t words, int rows, int widens) {
	for (int64_t k = 0; k < words; k++, to += widens ? 2 * rows : rows)
		for (int r = 0; r < rows; r++) {
			uint32_t word = from[r * words + k];
			to[r] = widens ? word << 16 : word;
			if (widens) to[rows + r] = word & 0xffff0000u;
		}
}

static void piece(job *j, int64_t i) {
	const arrangement *a = (const arrangement *)j;
	int64_t first = part_begins(a->rows, j->pieces, i), rows = part_begins(a->rows, j->pieces, i + 1) - first;
	const uint32_t *from = (const uint32_t *)a->from + first * a->words;
	uint32_t *to = a->to + first * a->in;
#define CASE(n) \
	case n: a->widens ? arrange(to, from, a->words, n, 1) : arrange(to, from, a->words, n, 0); break;
	switch (rows) {
		CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
	}
#undef CASE
}

int rows_arrange(const call_frame *call, uint32_t *to, const buffer *x, int64_t together, int pairs) {
	int64_t rows = x->dims[0], in = x->dims[1], words = x->dtype == DTYPE_F32 ? in : in / 2;
	arrangement *a = malloc(sizeof *a);
	if (a == NULL) return 0;
	*a = (arrangement){.job = {.piece = piece, .pieces = parts(rows, together)}, .from = x->data, .to = to, .rows = rows, .in = pairs ? words : in,
		.words = words, .widens = x->dtype != DTYPE_F32 && !pairs};
	ffi_run(call, &a->job, rows * in / ALONE);
	return 1;
}
