// Includes the file EACH once for each kind of processor that there are vectors for. There FOR names what is made, and a vector has LANES
// values of 32 bits. FASTEST chooses among what was made, for the processor that is there.
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

#define FOR(name) name##_any
#define LANES 4
VECTORS
#include EACH
#undef FOR
#undef LANES

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define FOR(name) name##_avx2
#define LANES 8
VECTORS
#include EACH
#undef FOR
#undef LANES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl")
#define FOR(name) name##_avx512
#define LANES 16
VECTORS
#include EACH
#undef FOR
#undef LANES
#pragma GCC pop_options

#define HAS_AVX512 (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define FASTEST(name) (HAS_AVX512 ? name##_avx512 : HAS_AVX2 ? name##_avx2 : name##_any)

#else

#define HAS_AVX2 0
#define FASTEST(name) name##_any

#endif
