// Includes the file EACH once for each kind of processor that there are vectors for. There FOR names what is made, and a vector has LANES
// values of 32 bits. FASTEST chooses among what was made, for the processor that is there, and FASTEST_SUMS among what has no DOT.
//
// Pragmas, since the compiler divides vectors up before it makes versions of a function by attributes.

#define INLINE static inline __attribute__((always_inline))

// Vectors of f32, int32, and unsigned integers of 32 and 16 bits.
#define vf FOR(vf)
#define vi FOR(vi)
#define vu FOR(vu)
#define vh FOR(vh)
#define VECTORS \
	typedef float vf __attribute__((vector_size(4 * LANES), aligned(4))); \
	typedef int32_t vi __attribute__((vector_size(4 * LANES), aligned(4))); \
	typedef uint32_t vu __attribute__((vector_size(4 * LANES), aligned(4))); \
	typedef uint16_t vh __attribute__((vector_size(2 * LANES), aligned(2)));

// WIDENED is a vector of 16 bits each as one of 32. What GCC makes of a conversion where there are instructions for it takes the vector apart.
#define WIDENED(a) __builtin_convertvector(a, vu)

// INTERLEAVED with LOW is the first halves of two vectors, a value of each by turns; with HIGH it is the second.
#ifdef __clang__
#define INTERLEAVED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVED(a, b, ...) __builtin_shuffle(a, b, (vu){__VA_ARGS__})
#endif

// BRANCH_APART stands at the end of a loop that is to be fast. Intel's processors from Skylake to Cascade Lake, since a correction of their microcode (the JCC
// erratum), do not keep decoded what shares 32 bytes with a branch that crosses or ends at their end; a loop of products takes a third longer for it.
// This puts the branch at the beginning of 32 bytes.
#if defined(__x86_64__) && defined(__GNUC__)
#define BRANCH_APART __asm__ volatile(".p2align 5")
#else
#define BRANCH_APART
#endif

#define FOR(name) name##_any
#define LANES 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
VECTORS
#include EACH
#undef FOR
#undef LANES
#undef LOW
#undef HIGH

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define FOR(name) name##_avx2
#define LANES 8
#undef WIDENED
#define WIDENED(a) (vu)_mm256_cvtepu16_epi32((__m128i)(a))
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
VECTORS
#include EACH
#undef FOR
#undef LANES
#undef LOW
#undef HIGH
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl")
#define FOR(name) name##_avx512
#define LANES 16
#undef WIDENED
#define WIDENED(a) (vu)_mm512_cvtepu16_epi32((__m256i)(a))
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
VECTORS
#include EACH
#pragma GCC pop_options

#ifdef DOTS // it uses DOT, the sum with the products of pairs of bf16
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512bf16")
#undef FOR
#define FOR(name) name##_dot
#define DOT(sum, x, y) (vf)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(y))
VECTORS
#include EACH
#undef DOT
#pragma GCC pop_options
#endif
#undef FOR
#undef LANES
#undef LOW
#undef HIGH

// Intel's processors take twice as long for DOT as for the same products in f32.
#define HAS_DOT (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd"))
#define HAS_AVX512 (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define FASTEST_SUMS(name) (HAS_AVX512 ? name##_avx512 : HAS_AVX2 ? name##_avx2 : name##_any)
#ifdef DOTS
#define FASTEST(name) (HAS_DOT ? name##_dot : FASTEST_SUMS(name))
#else
#define FASTEST FASTEST_SUMS
#endif

#else

#define HAS_AVX2 0
#define HAS_DOT 0
#define FASTEST(name) name##_any
#define FASTEST_SUMS FASTEST

#endif
