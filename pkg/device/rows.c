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

static void piece(job *j, int64_t i) {
	const arrangement *a = (const arrangement *)j;
	int64_t first = part_begins(a->rows, j->pieces, i), rows = part_begins(a->rows, j->pieces, i + 1) - first;
	const uint32_t *from = (const uint32_t *)a->from + first * a->words;
	uint32_t *to = a->to + first * a->in;
	for (int64_t k = 0; k < a->words; k++, to += rows) {
		for (int64_t r = 0; r < rows; r++) to[r] = from[r * a->words + k];
		if (!a->widens) continue;
		for (int64_t r = 0; r < rows; r++) to[rows + r] = to[r] & 0xffff0000u;
		for (int64_t r = 0; r < rows; r++) to[r] <<= 16;
		to += rows;
	}
}

int rows_arrange(const call_frame *call, void *to, const buffer *x, int64_t together, int pairs) {
	int64_t rows = x->dims[0], in = x->dims[1], words = x->dtype == DTYPE_F32 ? in : in / 2;
	arrangement *a = malloc(sizeof *a);
	if (a == NULL) return 0;
	*a = (arrangement){.job = {.piece = piece, .pieces = parts(rows, together)}, .from = x->data, .to = to, .rows = rows, .in = pairs ? words : in,
		.words = words, .widens = x->dtype != DTYPE_F32 && !pairs};
	ffi_run(call, &a->job, rows * in / ALONE);
	return 1;
}
