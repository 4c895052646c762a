/* The exact full-batch training step of a one-layer transformer read at its last position.
 *
 * What must hold: the same mathematics as the plain forward over all positions and its backward pass, in
 * float (REAL=float) or double (REAL=double); bit-identical results for the same number of threads and C library
 * (log, exp, pow), on every x86-64 that multiplies and adds in one instruction (see `fused`); no allocation and no system call inside a
 * step except the yield of a waiting thread. Numbers too small for full precision (in float below 1.2e-38) count
 * as 0: unused weights decay there, and many processors are many times slower with them.
 *
 * Names.  A "row" is a token at a position (without positional embeddings: a token). Each example names S rows,
 * one per position; the last is where the answer is read. Rows q0 .. q0+nq-1 are the ones that can be last.
 *   W  = m + Vp       width of [MLP pre-activation | logits]; Vp is the vocabulary padded to 16
 *   T[r][h][W]        what head h writes, when it looks at row r, into pre-activation and logits
 *   R[q][W]           what the residual stream of the last position writes there, biases included
 *   WL[m][Vp]         W_out^T W_U, the neuron-logit map; WLt its transpose
 * Then  Z = R[q] + sum_{s,h} alpha[s,h] T[row_s][h],  act = relu(Z[:m]),  logits = Z[m:] + act WL.
 * Per example three products with WL remain (forward, weight gradient, input gradient); the rest is mixing rows.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define LINE ((int)(64 / sizeof(REAL))) /* lanes of the widest vectors: what depends on a width depends on this one */
#define PARTS (64 / VECTOR_BYTES)       /* vectors of a line */
#define INLINE static inline __attribute__((always_inline))
#define TILE_ROWS 6
#define TILE_VECTORS 4
#define PANEL (TILE_VECTORS * LANES)
#define DEPTH 128 /* a panel of DEPTH rows stays in the first-level cache */
#define BLOCK 96  /* examples per block; a multiple of 16 */
#define MAX_THREADS 64
#define MAX_MIXED 256 /* positions x heads */

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef REAL lanes __attribute__((vector_size(VECTOR_BYTES))); /* in registers; arrays of `vec` were kept in memory */
typedef double vecd __attribute__((vector_size(64)));
typedef int64_t veci __attribute__((vector_size(64)));
typedef double vecd_unaligned __attribute__((vector_size(64), aligned(8), may_alias));
/* C has no ?: on vectors: pick by the comparison's all-ones or all-zeros lanes. */
#define PICK(mask, yes, no) ((__typeof__(yes))(((mask) & (__typeof__(mask))(yes)) | (~(mask) & (__typeof__(mask))(no))))
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define BROADCAST(x) ((x) - (lanes){0})

/* a b + c, rounded once. A product that is added to something is written with one of these, or it is rounded twice: the compiler chooses
 * nothing (-ffp-contract=off), as it would by what a processor is tuned for. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define FUSED 1
#define FUSED_FLOATS(a, b, c) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define FUSED_DOUBLES(a, b, c) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#elif defined(__FMA__) && defined(__AVX__)
#include <immintrin.h>
#define FUSED 1
#define FUSED_FLOATS(a, b, c) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define FUSED_DOUBLES(a, b, c) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define FUSED 1
#define FUSED_FLOATS(a, b, c) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define FUSED_DOUBLES(a, b, c) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#else
#define FUSED 0
#endif

INLINE lanes fused(lanes a, lanes b, lanes c) {
#if FUSED
  return sizeof(REAL) == 4 ? (lanes)FUSED_FLOATS(a, b, c) : (lanes)FUSED_DOUBLES(a, b, c);
#else
  return a * b + c;
#endif
}

INLINE vecd fused8(vecd a, vecd b, vecd c) {
#if FUSED && VECTOR_BYTES == 64
  return (vecd)FUSED_DOUBLES(a, b, c);
#elif FUSED
  typedef double native __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
  vecd r;
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) ((native *)&r)[i] = (native)FUSED_DOUBLES(((native *)&a)[i], ((native *)&b)[i], ((native *)&c)[i]);
  return r;
#else
  return a * b + c;
#endif
}

INLINE double fused_double(double a, double b, double c) { return FUSED ? __builtin_fma(a, b, c) : a * b + c; }
INLINE REAL fused1(REAL a, REAL b, REAL c) {
  if (!FUSED) return a * b + c;
  return sizeof(REAL) == 4 ? (REAL)__builtin_fmaf((float)a, (float)b, (float)c) : (REAL)__builtin_fma(a, b, c);
}

typedef struct {
  int64_t examples, positions;
  const int32_t *rows;   /* [examples][positions] */
  const int32_t *labels; /* [examples] */
  const int32_t *task;   /* [examples] */
  const double *weight;  /* [examples]: 1 / number of examples of its task */
} Examples;

typedef struct {
  int64_t d, heads, d_head, m, vocabulary, vp, positions, num_rows, q0, nq, num_tasks, num_position_rows;
  int64_t has_biases, loss_kind, classes, threads; /* a loss below; the first `classes` tokens can be answers */
  const int32_t *row_token, *row_position; /* [num_rows]; position -1 where there is no positional embedding */
  double lr, beta1, beta2, eps, weight_decay, score_scale;
  int64_t warmup, step;
  /* parameters, their gradient and moments: one flat buffer each, in this order */
  REAL *E, *P, *Wqkv, *Wo, *B, *bin, *Wout, *bout;
  REAL *parameters, *gradient, *moment1, *moment2;
  const uint8_t *trainable; /* [size] */
  int64_t size;
  /* tables */
  REAL *X, *QKV, *KT, *score, *Cc, *CcT, *T, *R, *WL, *WLpack, *WLtpack, *BT, *WqkvT, *dX, *dQKV, *dCc, *dWLtT;
  int64_t row_stride; /* of score and KT: num_rows padded */
  /* private to a thread, [threads][private_size]: dT | dR | dWLt | dscore, and its scratch */
  REAL *private_gradient, *scratch;
  int64_t private_size, scratch_size;
  double *private_loss;     /* [threads][num_tasks] */
  int64_t *private_correct; /* [threads][num_tasks] */
  atomic_int arrived, phase; /* of the barrier */
} Step;

#if defined(__SSE__)
static uint64_t floating_mode(void) { return __builtin_ia32_stmxcsr(); }
static void set_floating_mode(uint64_t mode) { __builtin_ia32_ldmxcsr((unsigned)mode); }
#define FLUSH 0x8040 /* results and operands */
#elif defined(__aarch64__)
static uint64_t floating_mode(void) { uint64_t mode; __asm__ volatile("mrs %0, fpcr" : "=r"(mode)); return mode; }
static void set_floating_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#define FLUSH (1 << 24)
#else
static uint64_t floating_mode(void) { return 0; }
static void set_floating_mode(uint64_t mode) { (void)mode; }
#define FLUSH 0
#endif

static void barrier(Step *s) {
  if (s->threads == 1) return;
  int mine = atomic_load(&s->phase);
  if (atomic_fetch_add(&s->arrived, 1) == s->threads - 1) {
    atomic_store(&s->arrived, 0);
    atomic_fetch_add(&s->phase, 1);
    return;
  }
  for (int spin = 0; atomic_load_explicit(&s->phase, memory_order_acquire) == mine; spin++)
    if (spin > 4000) sched_yield();
}

static void share(int64_t total, int64_t grain, int threads, int thread, int64_t *from, int64_t *to) {
  int64_t grains = (total + grain - 1) / grain;
  *from = grain * (grains * thread / threads);
  *to = grain * (grains * (thread + 1) / threads);
  if (*from > total) *from = total;
  if (*to > total) *to = total;
}

/* C (M x N) = or += A (M x K, any strides) B (K x N, rows contiguous within a panel of PANEL columns). */
enum { SET, ADD, MASK }; /* MASK: C = product where C > 0, else 0 (the derivative of relu, in place) */

INLINE void tile(int mr, int nv, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B, int64_t ldb, REAL *C,
                 int64_t ldc, int mode) {
  lanes acc[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) acc[i][j] = (lanes){0};
  for (int64_t k = 0; k < K; k++) {
    lanes b[TILE_VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) b[j] = LOAD(B + k * ldb + j * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
      lanes a = BROADCAST(A[i * ra + k * ca]);
#pragma GCC unroll 8
      for (int j = 0; j < nv; j++) acc[i][j] = fused(a, b[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < mr; i++)
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) {
      REAL *c = C + i * ldc + j * LANES;
      if (mode == SET) STORE(c, acc[i][j]);
      else if (mode == ADD) STORE(c, LOAD(c) + acc[i][j]);
      else STORE(c, PICK(LOAD(c) > 0, acc[i][j], (vec){0}));
    }
}

#define TILE_CASE(mr, nv) \
  case (mr) * 8 + (nv): tile(mr, nv, K, A, ra, ca, B, ldb, C, ldc, mode); break;
#define TILE_CASES(mr) TILE_CASE(mr, 1) TILE_CASE(mr, 2) TILE_CASE(mr, 3) TILE_CASE(mr, 4)
INLINE void any_tile(int mr, int nv, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B, int64_t ldb,
                     REAL *C, int64_t ldc, int mode) {
  switch (mr * 8 + nv) { TILE_CASES(1) TILE_CASES(2) TILE_CASES(3) TILE_CASES(4) TILE_CASES(5) TILE_CASES(6) }
}

INLINE void product_in(int64_t M, int64_t N, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B,
                       int64_t ldb, int64_t panel_stride, REAL *C, int64_t ldc, int mode) {
  int64_t whole = N / LINE * LINE;
  for (int64_t k0 = 0; k0 < K; k0 += mode == MASK ? K : DEPTH) {
    int64_t depth = mode == MASK || K - k0 < DEPTH ? K - k0 : DEPTH;
    int here = k0 && mode == SET ? ADD : mode;
    for (int64_t n = 0, p = 0; n < whole; n += PANEL, p++) {
      int nv = (int)(whole - n < PANEL ? (whole - n) / LANES : TILE_VECTORS);
      const REAL *b = B + p * panel_stride + k0 * ldb;
      int64_t i = 0;
      if (nv == TILE_VECTORS)
        for (; i + TILE_ROWS <= M; i += TILE_ROWS)
          tile(TILE_ROWS, TILE_VECTORS, depth, A + i * ra + k0 * ca, ra, ca, b, ldb, C + i * ldc + n, ldc, here);
      for (; i < M; i += TILE_ROWS)
        any_tile((int)(M - i < TILE_ROWS ? M - i : TILE_ROWS), nv, depth, A + i * ra + k0 * ca, ra, ca, b, ldb,
                 C + i * ldc + n, ldc, here);
    }
  }
  for (int64_t n = whole; n < N; n++) /* columns that fill no line; never with packed B; rounded twice */
    for (int64_t i = 0; i < M; i++) {
      REAL sum = 0;
      for (int64_t k = 0; k < K; k++) sum += A[i * ra + k * ca] * B[k * ldb + n];
      C[i * ldc + n] = mode == SET ? sum : mode == ADD ? C[i * ldc + n] + sum : C[i * ldc + n] > 0 ? sum : 0;
    }
}

static __attribute__((noinline)) void product_set(int64_t M, int64_t N, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B,
                        int64_t ldb, int64_t panel, REAL *C, int64_t ldc) {
  product_in(M, N, K, A, ra, ca, B, ldb, panel, C, ldc, SET);
}
static __attribute__((noinline)) void product_add(int64_t M, int64_t N, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B,
                        int64_t ldb, int64_t panel, REAL *C, int64_t ldc) {
  product_in(M, N, K, A, ra, ca, B, ldb, panel, C, ldc, ADD);
}
static __attribute__((noinline)) void product_mask(int64_t M, int64_t N, int64_t K, const REAL *A, int64_t ra, int64_t ca, const REAL *B,
                         int64_t ldb, int64_t panel, REAL *C, int64_t ldc) {
  product_in(M, N, K, A, ra, ca, B, ldb, panel, C, ldc, MASK);
}

static void transpose(int64_t rows, int64_t columns, const REAL *from, int64_t ld_from, REAL *to, int64_t ld_to) {
  for (int64_t r0 = 0; r0 < rows; r0 += 16)
    for (int64_t c0 = 0; c0 < columns; c0 += 16)
      for (int64_t c = c0; c < c0 + 16 && c < columns; c++)
        for (int64_t r = r0; r < r0 + 16 && r < rows; r++) to[c * ld_to + r] = from[r * ld_from + c];
}

/* exp of eight doubles, to about 1 ulp for x in [-708, 709]; below, 0 up to the smallest normal number. */
INLINE vecd exp8(vecd x) {
  const double shift = 0x1.8p52;
  veci tiny = x < -708.0;
  x = PICK(tiny, (vecd){0} - 708.0, x);
#define OF(constant) ((vecd){0} + (constant))
  vecd k = fused8(x, OF(1.4426950408889634), OF(shift)) - shift;
  vecd r = fused8(k, OF(-0x1.ef35793c76730p-45), fused8(k, OF(-0x1.62e42fefa3800p-1), x));
  vecd p = fused8(r, OF(1.0 / 6227020800.0), OF(1.0 / 479001600.0));
  p = fused8(p, r, OF(1.0 / 39916800.0));
  p = fused8(p, r, OF(1.0 / 3628800.0));
  p = fused8(p, r, OF(1.0 / 362880.0));
  p = fused8(p, r, OF(1.0 / 40320.0));
  p = fused8(p, r, OF(1.0 / 5040.0));
  p = fused8(p, r, OF(1.0 / 720.0));
  p = fused8(p, r, OF(1.0 / 120.0));
  p = fused8(p, r, OF(1.0 / 24.0));
  p = fused8(p, r, OF(1.0 / 6.0));
  p = fused8(p, r, OF(0.5));
  p = fused8(p, r, OF(1.0));
  p = fused8(p, r, OF(1.0));
  veci bits = (veci)(k + shift);                       /* k in the low bits */
  vecd scale = (vecd)((bits + 1023) << 52);
  p = p * scale;
  return PICK(tiny, (vecd){0}, p);
}

INLINE REAL lane_sum(const vec *v) { /* of a line */
  REAL s = 0;
#pragma GCC unroll 16
  for (int i = 0; i < LINE; i++) s += v[i / LANES][i % LANES];
  return s;
}

/* Softmax over S positions of nheads rows of BLOCK scores, in place; layout [s * heads + h][BLOCK]. */
static void attention_weights(int64_t S, int64_t heads, int64_t count, REAL *alpha) {
  for (int64_t h = 0; h < heads; h++)
    for (int64_t i = 0; i < count; i += 8) {
      vecd top, sum = {0}, e[16];
      for (int64_t s = 0; s < S; s++) {
        for (int l = 0; l < 8; l++) e[s][l] = alpha[(s * heads + h) * BLOCK + i + l];
        top = s == 0 ? e[0] : PICK(e[s] > top, e[s], top);
      }
      for (int64_t s = 0; s < S; s++) {
        e[s] = exp8(e[s] - top);
        sum += e[s];
      }
      for (int64_t s = 0; s < S; s++) {
        vecd a = e[s] / sum;
        for (int l = 0; l < 8; l++) alpha[(s * heads + h) * BLOCK + i + l] = (REAL)a[l];
      }
    }
}

/* Log-softmax in float64, its margin form, log-softmax in float32, StableMax in float64. */
enum { FLOAT64, MARGIN, FLOAT32, STABLEMAX }; /* in the order of config.LOSSES */

/* Log-softmax with every step in float32, rounding included: once the right answer's logarithm rounds to 0 its gradient is 0. */
INLINE double float32_loss(REAL *z, int64_t V, int64_t vp, REAL top, int label, double weight, double *e) {
  float sum = 0;
  for (int64_t j = 0; j < vp; j += 8) {
    vecd x;
    for (int l = 0; l < 8; l++) x[l] = j + l < V ? (double)((float)z[j + l] - (float)top) : 0;
    *(vecd_unaligned *)(e + j) = exp8(x);
  }
  for (int64_t j = 0; j < V; j++) sum += (float)e[j];
  const float log_sum = logf(sum), right = ((float)z[label] - (float)top) - log_sum;
  for (int64_t j = 0; j < vp; j += 8) {
    vecd x;
    for (int l = 0; l < 8; l++) x[l] = j + l < V ? (double)(((float)z[j + l] - (float)top) - log_sum) : 0;
    *(vecd_unaligned *)(e + j) = exp8(x);
  }
  for (int64_t j = 0; j < vp; j++) z[j] = (REAL)(j < V ? (float)weight * (float)e[j] : 0);
  z[label] = (REAL)((float)weight * ((float)e[label] - 1.0f));
  return weight * -(double)right;
}

/* -log of s(z) / sum of s, s(x) = x + 1 from 0 up and 1 / (1 - x) below (Prieto et al. 2025). */
INLINE double stablemax_loss(REAL *z, int64_t V, int64_t vp, int label, double weight, double *e) {
  double sum = 0;
  for (int64_t j = 0; j < V; j++) {
    const double x = (double)z[j];
    e[j] = x >= 0 ? x + 1 : 1 / (1 - x);
    sum += e[j];
  }
  const double right = e[label];
  for (int64_t j = 0; j < vp; j++) {
    const double slope = j >= V ? 0 : (double)z[j] >= 0 ? 1 : e[j] * e[j];
    z[j] = (REAL)(weight * slope * (1 / sum - (j == label ? 1 / right : 0)));
  }
  return weight * (log(sum) - log(right));
}

/* Cross-entropy of one row of logits; replaces it by weight * d(loss)/d(logits). Padding becomes zero. */
INLINE double loss_row(REAL *z, int64_t V, int64_t vp, int label, double weight, int kind, double *e, int *predicted) {
  REAL top = z[0];
  int best = 0;
  if (predicted) {
    for (int64_t j = 1; j < V; j++)
      if (z[j] > top) { top = z[j]; best = (int)j; }
    *predicted = best;
  } else {
    vec t = (vec){0} + z[0];
    int64_t j = 0;
    for (; j + LANES <= V; j += LANES) t = PICK(LOAD(z + j) > t, LOAD(z + j), t);
    for (int l = 0; l < LANES; l++) top = t[l] > top ? t[l] : top;
    for (; j < V; j++) top = z[j] > top ? z[j] : top;
  }
  if (kind == FLOAT32) return float32_loss(z, V, vp, top, label, weight, e);
  if (kind == STABLEMAX) return stablemax_loss(z, V, vp, label, weight, e);
  double right = z[label];
  if (kind == MARGIN) { /* the largest wrong logit */
    REAL saved = z[label];
    z[label] = -INFINITY;
    top = -INFINITY;
    for (int64_t j = 0; j < V; j++) top = z[j] > top ? z[j] : top;
    z[label] = saved;
  }
  for (int64_t j = V; j < vp; j++) z[j] = top;
  vecd sums = {0};
  for (int64_t j = 0; j < vp; j += 8) {
    vecd x;
    for (int l = 0; l < 8; l++) x[l] = (double)z[j + l] - (double)top;
    *(vecd_unaligned *)(e + j) = exp8(PICK(x < 700.0, x, (vecd){0} + 700.0));
  }
  for (int64_t j = V; j < vp; j++) e[j] = 0;
  if (kind == MARGIN) e[label] = 0;
  for (int64_t j = 0; j < vp; j += 8) sums += *(vecd_unaligned *)(e + j);
  double sum = 0;
  for (int l = 0; l < 8; l++) sum += sums[l];
  double loss, scale;
  if (kind == FLOAT64) {
    loss = log(sum) - (right - top);
    scale = weight / sum;
  } else {
    double x = top + log(sum) - right;
    loss = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    double sigma = x > 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    scale = weight * sigma / sum;
    right = -weight * sigma;
  }
  for (int64_t j = 0; j < vp; j++) z[j] = (REAL)(e[j] * scale);
  z[label] = (REAL)(kind == FLOAT64 ? weight * (e[label] / sum - 1) : right);
  return loss * weight;
}

/* Z[W] = R + sum_j a[j] row[j]; the first m columns through relu. */
INLINE void mix(int64_t W, int64_t m, int64_t J, const REAL *R, const REAL *const *row, const REAL *a, REAL *Z) {
  for (int64_t c = 0; c < W; c += LANES) {
    vec acc = LOAD(R + c);
    int64_t j = 0;
    for (; j + 4 <= J; j += 4)
      acc += fused(BROADCAST(a[j]), LOAD(row[j] + c), a[j + 1] * LOAD(row[j + 1] + c)) +
             fused(BROADCAST(a[j + 2]), LOAD(row[j + 2] + c), a[j + 3] * LOAD(row[j + 3] + c));
    for (; j < J; j++) acc = fused(BROADCAST(a[j]), LOAD(row[j] + c), acc);
    if (c < m) acc = PICK(acc > 0, acc, (vec){0});
    STORE(Z + c, acc);
  }
}

/* out[j] = Z . row[j] for n rows, and, where accumulate, drow[j] += a[j] Z. */
INLINE void unmix(int n, int accumulate, int64_t W, const REAL *Z, const REAL *row, const REAL *a, REAL *drow, REAL *out) {
  vec dot[4][PARTS] = {{{0}}};
  for (int64_t c = 0; c < W; c += LINE)
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; part++) {
      const int64_t at = c + part * LANES;
      vec z = LOAD(Z + at);
#pragma GCC unroll 4
      for (int j = 0; j < n; j++) {
        dot[j][part] = fused(z, LOAD(row + j * W + at), dot[j][part]);
        if (accumulate) STORE(drow + j * W + at, fused(BROADCAST(a[j]), z, LOAD(drow + j * W + at)));
      }
    }
  for (int j = 0; j < n; j++) out[j] = lane_sum(dot[j]);
}

/* Forward, loss and, if gradient is given, backward over the examples [from, to) of one thread. */
static void pass(Step *s, const Examples *x, int64_t from, int64_t to, REAL *scratch, REAL *gradient, double *loss,
                 int64_t *correct, REAL *logits_out) {
  const int64_t S = s->positions, H = s->heads, J = S * H, W = s->m + s->vp, m = s->m, HW = H * W;
  REAL *Z = scratch, *alpha = Z + BLOCK * W, *dalpha = alpha + J * BLOCK, *mixing = dalpha + J * BLOCK;
  double *e = (double *)(mixing + J * BLOCK);
  REAL *dT = gradient, *dR = 0, *dWLt = 0, *dscore = 0;
  if (gradient) {
    dR = dT + s->num_rows * HW;
    dWLt = dR + s->nq * W;
    dscore = dWLt + s->vocabulary * m;
    memset(gradient, 0, sizeof(REAL) * s->private_size);
  }
  const REAL scale = (REAL)s->score_scale;
  for (int64_t start = from; start < to; start += BLOCK) {
    const int64_t count = to - start < BLOCK ? to - start : BLOCK;
    const int32_t *rows = x->rows + start * S;
    for (int64_t i = 0; i < count; i++) {
      int64_t q = rows[i * S + S - 1] - s->q0;
      for (int64_t p = 0; p < S; p++)
        for (int64_t h = 0; h < H; h++)
          alpha[(p * H + h) * BLOCK + i] = scale * s->score[(h * s->nq + q) * s->row_stride + rows[i * S + p]];
    }
    for (int64_t i = count; i < BLOCK; i++)
      for (int64_t j = 0; j < J; j++) alpha[j * BLOCK + i] = 0;
    attention_weights(S, H, count, alpha);
    transpose(J, count, alpha, BLOCK, mixing, J); /* [count][J] */
    for (int64_t i = 0; i < count; i++) {
      const REAL *table[MAX_MIXED];
      for (int64_t p = 0; p < S; p++)
        for (int64_t h = 0; h < H; h++) table[p * H + h] = s->T + rows[i * S + p] * HW + h * W;
      mix(W, m, J, s->R + (rows[i * S + S - 1] - s->q0) * W, table, mixing + i * J, Z + i * W);
    }
    product_add(count, s->vp, m, Z, W, 1, s->WLpack, PANEL, m * PANEL, Z + m, W);
    for (int64_t i = 0; i < count; i++) {
      int64_t n = start + i;
      int predicted;
      if (logits_out) memcpy(logits_out + n * s->vocabulary, Z + i * W + m, sizeof(REAL) * s->vocabulary);
      loss[x->task[n]] += loss_row(Z + i * W + m, s->classes, s->vp, x->labels[n], x->weight[n],
                                   (int)s->loss_kind, e, gradient ? 0 : &predicted);
      if (!gradient) correct[x->task[n]] += predicted == x->labels[n];
    }
    if (!gradient) continue;
    product_add(s->vocabulary, m, count, Z + m, 1, W, Z, W, PANEL, dWLt, m);
    product_mask(count, m, s->vocabulary, Z + m, W, 1, s->WLtpack, PANEL, s->vocabulary * PANEL, Z, W);
    for (int64_t i = 0; i < count; i++) {
      const REAL *z = Z + i * W;
      for (int64_t p = 0; p < S; p++) {
        const REAL *row = s->T + rows[i * S + p] * HW, *a = mixing + i * J + p * H;
        REAL *out = dalpha + i * J + p * H, *drow = dT + rows[i * S + p] * HW;
        int64_t h = 0;
        for (; h + 4 <= H; h += 4) {
          if (p == 0) unmix(4, 1, W, z, row + h * W, a + h, drow + h * W, out + h);
          else unmix(4, 0, W, z, row + h * W, a + h, drow + h * W, out + h);
        }
        for (; h < H; h++) {
          if (p == 0) unmix(1, 1, W, z, row + h * W, a + h, drow + h * W, out + h);
          else unmix(1, 0, W, z, row + h * W, a + h, drow + h * W, out + h);
        }
      }
    }
    /* positions after the first: their rows are constant along runs of sorted examples, so add a run at once */
    for (int64_t i = 0; i < count;) {
      int64_t end = i + 1;
      while (end < count && !memcmp(rows + end * S + 1, rows + i * S + 1, sizeof(int32_t) * (S - 1))) end++;
      for (int64_t p = 1; p < S; p++)
        product_add(H, W, end - i, alpha + p * H * BLOCK + i, BLOCK, 1, Z + i * W, W, PANEL,
                    dT + rows[i * S + p] * HW, W);
      REAL *r = dR + (rows[i * S + S - 1] - s->q0) * W;
      for (int64_t c = 0; c < W; c += LANES) {
        vec acc = LOAD(r + c);
        for (int64_t k = i; k < end; k++) acc += LOAD(Z + k * W + c);
        STORE(r + c, acc);
      }
      i = end;
    }
    for (int64_t i = 0; i < count; i++) {
      int64_t q = rows[i * S + S - 1] - s->q0;
      for (int64_t h = 0; h < H; h++) {
        REAL mean = 0;
        for (int64_t p = 0; p < S; p++) mean += mixing[i * J + p * H + h] * dalpha[i * J + p * H + h];
        for (int64_t p = 0; p < S; p++) {
          REAL *d = dscore + (h * s->nq + q) * s->row_stride + rows[i * S + p];
          *d = fused1(scale * mixing[i * J + p * H + h], dalpha[i * J + p * H + h] - mean, *d);
        }
      }
    }
  }
}

static void tables(Step *s, int thread) {
  const int threads = (int)s->threads;
  const int64_t d = s->d, H = s->heads, dh = s->d_head, a = H * dh, m = s->m, vp = s->vp, W = m + vp;
  int64_t from, to;
  share(s->num_rows, 1, threads, thread, &from, &to);
  for (int64_t r = from; r < to; r++)
    for (int64_t c = 0; c < d; c++)
      s->X[r * d + c] = s->E[s->row_token[r] * d + c] + (s->row_position[r] >= 0 ? s->P[s->row_position[r] * d + c] : 0);
  product_set(to - from, 3 * a, d, s->X + from * d, d, 1, s->Wqkv, 3 * a, PANEL, s->QKV + from * 3 * a, 3 * a);
  transpose(to - from, a, s->QKV + from * 3 * a + a, 3 * a, s->KT + from, s->row_stride);
  share(a, TILE_ROWS, threads, thread, &from, &to);
  product_set(to - from, W, d, s->Wo + from * d, d, 1, s->B, W, PANEL, s->Cc + from * W, W);
  transpose(to - from, W, s->Cc + from * W, W, s->CcT + from, a);
  share(m, PANEL, threads, thread, &from, &to);
  product_set(to - from, vp, d, s->Wout + from, 1, m, s->B + m, W, PANEL, s->WL + from * vp, vp);
  for (int64_t k = from; k < to; k++)
    for (int64_t c = 0; c < vp; c++) s->WLpack[(c / PANEL) * m * PANEL + k * PANEL + c % PANEL] = s->WL[k * vp + c];
  for (int64_t k = from; k < to; k += PANEL)
    transpose(to - k < PANEL ? to - k : PANEL, s->vocabulary, s->WL + k * vp, vp,
              s->WLtpack + (k / PANEL) * s->vocabulary * PANEL, PANEL);
  share(d, 16, threads, thread, &from, &to);
  transpose(to - from, W, s->B + from * W, W, s->BT + from, d);
  transpose(to - from, 3 * a, s->Wqkv + from * 3 * a, 3 * a, s->WqkvT + from, d);
  barrier(s);
  share(s->nq, 1, threads, thread, &from, &to);
  product_set(to - from, W, d, s->X + (s->q0 + from) * d, d, 1, s->B, W, PANEL, s->R + from * W, W);
  if (s->has_biases)
    for (int64_t q = from; q < to; q++) {
      for (int64_t c = 0; c < m; c++) s->R[q * W + c] += s->bin[c];
      product_add(1, vp, d, s->bout, d, 1, s->B + m, W, PANEL, s->R + q * W + m, W);
    }
  for (int64_t h = 0; h < H; h++)
    product_set(to - from, s->num_rows, dh, s->QKV + (s->q0 + from) * 3 * a + h * dh, 3 * a, 1,
                s->KT + h * dh * s->row_stride, s->row_stride, PANEL, s->score + (h * s->nq + from) * s->row_stride,
                s->row_stride);
  share(s->num_rows, 1, threads, thread, &from, &to);
  for (int64_t h = 0; h < H; h++)
    product_set(to - from, W, dh, s->QKV + from * 3 * a + 2 * a + h * dh, 3 * a, 1, s->Cc + h * dh * W, W, PANEL,
                s->T + (from * H + h) * W, H * W);
  barrier(s);
}

static void tables_backward(Step *s, int thread) {
  const int threads = (int)s->threads;
  const int64_t d = s->d, H = s->heads, dh = s->d_head, a = H * dh, m = s->m, vp = s->vp, W = m + vp, V = s->vocabulary;
  int64_t from, to;
  share(s->private_size, 16, threads, thread, &from, &to);
  REAL *g = s->private_gradient;
  for (int t = 1; t < threads; t++) {
    const REAL *other = s->private_gradient + t * s->private_size;
    for (int64_t i = from; i < to; i++) g[i] += other[i];
  }
  barrier(s);
  REAL *dT = g, *dR = dT + s->num_rows * H * W, *dWLt = dR + s->nq * W, *dscore = dWLt + V * m;
  REAL *base = s->gradient;
#define GRADIENT(name) (base + (s->name - s->parameters))
  share(a, 1, threads, thread, &from, &to);
  for (int64_t k = from; k < to;) { /* rows of dCc, head by head */
    int64_t h = k / dh, end = (h + 1) * dh < to ? (h + 1) * dh : to;
    product_set(end - k, W, s->num_rows, s->QKV + 2 * a + k, 1, 3 * a, dT + h * W, H * W, PANEL, s->dCc + k * W, W);
    k = end;
  }
  share(s->num_rows, 1, threads, thread, &from, &to);
  for (int64_t r = from; r < to; r++) memset(s->dX + r * d, 0, sizeof(REAL) * d);
  for (int64_t h = 0; h < H; h++) {
    product_set(to - from, dh, W, dT + (from * H + h) * W, H * W, 1, s->CcT + h * dh, a, PANEL,
                s->dQKV + from * 3 * a + 2 * a + h * dh, 3 * a);
    product_set(to - from, dh, s->nq, dscore + h * s->nq * s->row_stride + from, 1, s->row_stride,
                s->QKV + s->q0 * 3 * a + h * dh, 3 * a, PANEL, s->dQKV + from * 3 * a + a + h * dh, 3 * a);
    for (int64_t r = from; r < to; r++)
      if (r < s->q0 || r >= s->q0 + s->nq) memset(s->dQKV + r * 3 * a + h * dh, 0, sizeof(REAL) * dh);
      else
        product_set(1, dh, s->num_rows, dscore + (h * s->nq + r - s->q0) * s->row_stride, 0, 1, s->QKV + a + h * dh,
                    3 * a, PANEL, s->dQKV + r * 3 * a + h * dh, 3 * a);
  }
  int64_t q_from = from > s->q0 ? from : s->q0, q_to = to < s->q0 + s->nq ? to : s->q0 + s->nq;
  if (q_to > q_from)
    product_set(q_to - q_from, d, W, dR + (q_from - s->q0) * W, W, 1, s->BT, d, PANEL, s->dX + q_from * d, d);
  share(m, 16, threads, thread, &from, &to);
  transpose(V, to - from, dWLt + from, m, s->dWLtT + from * vp, vp);
  for (int64_t k = from; k < to; k++) memset(s->dWLtT + k * vp + V, 0, sizeof(REAL) * (vp - V));
  share(d, 1, threads, thread, &from, &to);
  product_set(to - from, m, V, s->B + from * W + m, W, 1, dWLt, m, PANEL, GRADIENT(Wout) + from * m, m);
  barrier(s);
  share(s->num_rows, 1, threads, thread, &from, &to);
  product_add(to - from, d, 3 * a, s->dQKV + from * 3 * a, 3 * a, 1, s->WqkvT, d, PANEL, s->dX + from * d, d);
  share(a, 1, threads, thread, &from, &to);
  product_set(to - from, d, W, s->dCc + from * W, W, 1, s->BT, d, PANEL, GRADIENT(Wo) + from * d, d);
  share(d, 1, threads, thread, &from, &to);
  product_set(to - from, 3 * a, s->num_rows, s->X + from, 1, d, s->dQKV, 3 * a, PANEL, GRADIENT(Wqkv) + from * 3 * a,
              3 * a);
  REAL *dB = GRADIENT(B) + from * W;
  product_set(to - from, W, a, s->Wo + from, 1, d, s->dCc, W, PANEL, dB, W);
  product_add(to - from, W, s->nq, s->X + s->q0 * d + from, 1, d, dR, W, PANEL, dB, W);
  product_add(to - from, vp, m, s->Wout + from * m, m, 1, s->dWLtT, vp, PANEL, dB + m, W);
  if (s->has_biases) {
    REAL *total = s->scratch + thread * s->scratch_size; /* sum of dR over rows, [W] */
    memset(total, 0, sizeof(REAL) * W);
    for (int64_t q = 0; q < s->nq; q++)
      for (int64_t c = 0; c < W; c++) total[c] += dR[q * W + c];
    if (thread == 0) memcpy(GRADIENT(bin), total, sizeof(REAL) * m);
    for (int64_t k = from; k < to; k++) {
      REAL sum = 0;
      for (int64_t c = 0; c < vp; c++) {
        sum += s->B[k * W + m + c] * total[m + c];
        dB[(k - from) * W + m + c] = fused1(s->bout[k], total[m + c], dB[(k - from) * W + m + c]);
      }
      GRADIENT(bout)[k] = sum;
    }
  }
  barrier(s);
  share(d, 16, threads, thread, &from, &to);
  for (int64_t t = 0; t < V; t++) memset(GRADIENT(E) + t * d + from, 0, sizeof(REAL) * (to - from));
  for (int64_t p = 0; p < s->num_position_rows; p++) memset(GRADIENT(P) + p * d + from, 0, sizeof(REAL) * (to - from));
  for (int64_t r = 0; r < s->num_rows; r++)
    for (int64_t c = from; c < to; c++) {
      GRADIENT(E)[s->row_token[r] * d + c] += s->dX[r * d + c];
      if (s->row_position[r] >= 0) GRADIENT(P)[s->row_position[r] * d + c] += s->dX[r * d + c];
    }
  barrier(s);
}

static void adamw(Step *s, int thread) {
  int64_t from, to;
  share(s->size, 16, (int)s->threads, thread, &from, &to);
  const double t = (double)s->step;
  const double lr = s->lr * (s->warmup > 0 && t - 1 < s->warmup ? (t - 1) / s->warmup : 1.0);
  const REAL decay = (REAL)fused_double(-lr, s->weight_decay, 1), rate = (REAL)(lr / (1 - pow(s->beta1, t)));
  const REAL root = (REAL)sqrt(1 - pow(s->beta2, t)), eps = (REAL)s->eps;
  const REAL b1 = (REAL)(1 - s->beta1), b2 = (REAL)s->beta2, c2 = (REAL)(1 - s->beta2);
  REAL *restrict w = s->parameters, *restrict m1 = s->moment1, *restrict m2 = s->moment2;
  const REAL *restrict g = s->gradient;
  const uint8_t *restrict on = s->trainable;
  for (int64_t i = from; i < to; i++) {
    REAL first = fused1(b1, g[i] - m1[i], m1[i]), second = fused1(b2, m2[i], c2 * g[i] * g[i]);
    REAL change = rate * first / ((REAL)(sizeof(REAL) == 4 ? sqrtf((float)second) : sqrt((double)second)) / root + eps);
    REAL value = fused1(w[i], decay, -change);
    m1[i] = on[i] ? first : m1[i];
    m2[i] = on[i] ? second : m2[i];
    w[i] = on[i] ? value : w[i];
  }
}

typedef struct {
  Step *s;
  const Examples *x;
  int64_t steps, update;
  double *losses;     /* [steps][num_tasks], training; [num_tasks], evaluation */
  int64_t *correct;   /* [num_tasks], evaluation only */
  REAL *logits;       /* [examples][vocabulary], evaluation only, may be null */
  int thread;
  atomic_int *gate; /* 0 wait, 1 go, 2 there are too few threads */
} Job;

static void advance(Job *job) {
  Step *s = job->s;
  const int threads = (int)s->threads, thread = job->thread;
  const int64_t tasks = s->num_tasks;
  double *loss = s->private_loss + thread * tasks;
  int64_t from, to, *correct = s->private_correct + thread * tasks;
  share(job->x->examples, 1, threads, thread, &from, &to);
  for (int64_t k = 0; k < (job->steps ? job->steps : 1); k++) {
    const int training = job->steps > 0;
    tables(s, thread);
    for (int64_t t = 0; t < tasks; t++) loss[t] = 0, correct[t] = 0;
    pass(s, job->x, from, to, s->scratch + thread * s->scratch_size,
         training ? s->private_gradient + thread * s->private_size : 0, loss, correct, job->logits);
    barrier(s);
    if (thread == 0) {
      for (int64_t t = 0; t < tasks; t++) {
        double sum = 0;
        int64_t right = 0;
        for (int w = 0; w < threads; w++) sum += s->private_loss[w * tasks + t], right += s->private_correct[w * tasks + t];
        job->losses[k * tasks + t] = sum;
        if (!training) job->correct[t] = right;
      }
    }
    if (!training) return;
    tables_backward(s, thread);
    if (job->update) adamw(s, thread);
    barrier(s);
    if (job->update && thread == 0) s->step++; /* read again only after further barriers */
  }
}

static void *work(void *argument) {
  Job *job = argument;
  while (!atomic_load(job->gate)) sched_yield();
  if (atomic_load(job->gate) == 2) return 0;
  const uint64_t mode = floating_mode();
  set_floating_mode(mode | FLUSH);
  advance(job);
  set_floating_mode(mode);
  return 0;
}

/* steps > 0: that many training steps (update 0: gradient only); steps 0: evaluation. Returns 0, 1 if too few threads could be made, 2 if the
 * shape is beyond MAX_THREADS or MAX_MIXED. */
int epicycle_run(Step *s, const Examples *x, int64_t steps, int64_t update, double *losses, int64_t *correct, REAL *logits) {
  pthread_t handle[MAX_THREADS];
  Job job[MAX_THREADS];
  atomic_int gate = 0;
  int started = 1;
  if (s->threads > MAX_THREADS || s->positions * s->heads > MAX_MIXED || s->positions > 16) return 2;
  atomic_store(&s->arrived, 0);
  for (int t = 0; t < s->threads; t++) job[t] = (Job){s, x, steps, update, losses, correct, logits, t, &gate};
  while (started < s->threads && !pthread_create(&handle[started], 0, work, &job[started])) started++;
  atomic_store(&gate, started == s->threads ? 1 : 2);
  work(&job[0]);
  for (int t = 1; t < started; t++) pthread_join(handle[t], 0);
  return started == s->threads ? 0 : 1;
}

int64_t epicycle_scratch(int64_t W, int64_t J, int64_t vp) {
  return BLOCK * W + 3 * J * BLOCK + (vp + 16) * (int64_t)(sizeof(double) / sizeof(REAL)) + 64;
}
#if defined(__x86_64__)
int64_t epicycle_is_fused(void) { return FUSED; }
#else
int64_t epicycle_is_fused(void) { return 0; } /* never compared with x86-64 */
#endif
int64_t epicycle_panel(void) { return PANEL; }
int64_t epicycle_struct_size(void) { return sizeof(Step); }
