/* The loops over the elements of each type: norms, scaling and clamping.

   Short sums in the type of the elements, float at least, are added up in double; those that leave
   the range of their type are taken again. `CLONES` lets the loader choose the code for the
   processor it runs on. */
#include <math.h>
#include <string.h>

#include "loops.h"

#ifndef CLONES
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))
#define SHORT(W) (sizeof(W) == 8 ? 4096 : 256) /* elements of a short sum: errors below 1e-6 */

INLINE uint32_t bits_of(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
INLINE float float_of(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

/* Half precision by arithmetic alone (M. Dukhan's FP16): vectorised without F16C. */
INLINE float wide_half(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float x = float_of(magnitude) * 0x1.0p112f;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
    return float_of(sign | special | bits_of(x));
}
INLINE uint16_t narrow_half(float x) {
    uint32_t w = bits_of(x), twice = w + w, bias = twice & 0xff000000u;
    bias = bias < 0x71000000u ? 0x71000000u : bias;
    float base = (fabsf(x) * 0x1.0p112f) * 0x1.0p-110f;
    uint32_t b = bits_of(float_of((bias >> 1) + 0x07800000u) + base);
    uint32_t magnitude = ((b >> 13) & 0x7c00u) + (b & 0x0fffu);
    return (uint16_t)(((w & 0x80000000u) >> 16) | (twice > 0xff000000u ? 0x7e00u : magnitude));
}
INLINE float wide_bfloat(uint16_t h) { return float_of((uint32_t)h << 16); }
INLINE uint16_t narrow_bfloat(float x) {
    uint32_t b = bits_of(x), rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return (uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
INLINE float same_float(float x) { return x; }
INLINE double same_double(double x) { return x; }

#define MIN(S) ((S)((S)1 << (8 * sizeof(S) - 1))) /* the bit of the sign */

/* One set of loops for each type: T as stored, W for arithmetic, S its bits.
   The largest magnitude is found among the bits, where NaN stands above infinity. Four sums at a
   time hide the latency of the addition; each takes in so few elements that float is enough for
   it. A short sum at the edge of the range of float is taken again in double. */
#define LOOPS(NAME, T, W, S, ABS, WIDE, NARROW)                                               \
    CLONES static double NAME##_peak(const void *data, int64_t n) {                           \
        const S *x = data, most = (S)~MIN(S);                                                 \
        S peak = 0;                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                     \
            S magnitude = x[i] & most;                                                        \
            peak = magnitude > peak ? magnitude : peak;                                       \
        }                                                                                     \
        T found;                                                                              \
        memcpy(&found, &peak, sizeof found);                                                  \
        return WIDE(found);                                                                   \
    }                                                                                         \
    CLONES static double NAME##_sum(const void *data, int64_t n) {                            \
        const T *x = data;                                                                    \
        double total = 0;                                                                     \
        for (; n > 0; x += SHORT(W), n -= SHORT(W)) {                                         \
            W a = 0, b = 0, c = 0, d = 0;                                                     \
            int64_t m = n < SHORT(W) ? n : SHORT(W), q = m / 4;                                     \
            for (int64_t i = 0; i < q; i++) {                                                 \
                a += ABS(WIDE(x[i])), b += ABS(WIDE(x[i + q]));                               \
                c += ABS(WIDE(x[i + 2 * q])), d += ABS(WIDE(x[i + 3 * q]));                   \
            }                                                                                 \
            for (int64_t i = 4 * q; i < m; i++) a += ABS(WIDE(x[i]));                         \
            double part = ((double)a + b) + ((double)c + d);                                  \
            if (!(part < 1e37))                                                               \
                for (int64_t i = part = 0; i < m; i++) part += fabs((double)WIDE(x[i]));      \
            total += part;                                                                    \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    CLONES static double NAME##_squares(const void *data, int64_t n) {                        \
        const T *x = data;                                                                    \
        double total = 0;                                                                     \
        for (; n > 0; x += SHORT(W), n -= SHORT(W)) {                                         \
            W a = 0, b = 0, c = 0, d = 0;                                                     \
            int64_t m = n < SHORT(W) ? n : SHORT(W), q = m / 4;                                     \
            for (int64_t i = 0; i < q; i++) {                                                 \
                W e = WIDE(x[i]), f = WIDE(x[i + q]);                                         \
                W g = WIDE(x[i + 2 * q]), h = WIDE(x[i + 3 * q]);                             \
                a += e * e, b += f * f, c += g * g, d += h * h;                               \
            }                                                                                 \
            for (int64_t i = 4 * q; i < m; i++) a += WIDE(x[i]) * WIDE(x[i]);                 \
            double part = ((double)a + b) + ((double)c + d);                                  \
            if (!(part > 1e-25 && part < 1e37))                                               \
                for (int64_t i = part = 0; i < m; i++)                                        \
                    part += (double)WIDE(x[i]) * (double)WIDE(x[i]);                          \
            total += part;                                                                    \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    CLONES static void NAME##_scale(void *data, int64_t n, double factor) {                   \
        T *x = data;                                                                          \
        W f = (W)factor;                                                                      \
        for (int64_t i = 0; i < n; i++) x[i] = NARROW(WIDE(x[i]) * f);                        \
    }                                                                                         \
    CLONES static double NAME##_clamp(void *data, int64_t n, double bound) {                  \
        S *x = data, limit, infinite, peak = 0;                                               \
        T b = NARROW((W)bound), i = NARROW((W)INFINITY);                                      \
        memcpy(&limit, &b, sizeof b), memcpy(&infinite, &i, sizeof i);                        \
        for (int64_t k = 0; k < n; k++) {                                                     \
            S sign = x[k] & MIN(S), magnitude = x[k] & (S)~MIN(S);                            \
            S kept = magnitude > limit ? limit : magnitude;                                   \
            peak = magnitude > peak ? magnitude : peak;                                       \
            x[k] = sign | (magnitude >= infinite ? magnitude : kept);                         \
        }                                                                                     \
        memcpy(&b, &peak, sizeof b);                                                          \
        return WIDE(b);                                                                       \
    }

LOOPS(float, float, float, int32_t, fabsf, same_float, same_float)
LOOPS(double, double, double, int64_t, fabs, same_double, same_double)
LOOPS(half, uint16_t, float, int16_t, fabsf, wide_half, narrow_half)
LOOPS(bfloat, uint16_t, float, int16_t, fabsf, wide_bfloat, narrow_bfloat)

#define TYPE(NAME, SIZE) {SIZE, NAME##_peak, NAME##_sum, NAME##_squares, NAME##_clamp, NAME##_scale}
const Type gradclip_types[] = {TYPE(float, 4), TYPE(double, 8), TYPE(half, 2), TYPE(bfloat, 2)};
