// The exchange of rows and columns.

// transpose exchanges rows and columns of LANES words each: every round moves one bit of their numbers from the one to the other.
INLINE void FOR(transpose)(vu *a) {
	for (int round = 1; round < LANES; round *= 2) {
		vu b[LANES];
		for (int i = 0; i < LANES / 2; i++) {
			b[2 * i] = INTERLEAVED(a[i], a[i + LANES / 2], LOW);
			b[2 * i + 1] = INTERLEAVED(a[i], a[i + LANES / 2], HIGH);
		}
		for (int i = 0; i < LANES; i++) a[i] = b[i];
	}
}
