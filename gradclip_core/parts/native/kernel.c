/* Norms, scaling and clamping of gradients: one read, or one read and write, of the memory.

   A tensor is `rows[i]` rows of `cols[i]` elements, one after the other in memory; a tensor as a
   whole is one row. Loops over elements stand in loops.c. Built by build.py with whatever C
   compiler there is. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "loops.h"

enum { MAXIMUM, SUM, SQUARES };
#define BLOCK 4096      /* elements measured, and then clamped while they are in the cache */
#define PIECE 65536     /* elements of a row from which another thread may go on */
#define PARALLEL 524288 /* bytes for each thread from which it pays */
#define MOST_SHARES 256

/* One pass over all tensors, or a share of it: what begins at the elements `from` to `to`. */
typedef struct Pass Pass;
struct Pass {
    const Type *type;
    int64_t tensors;
    char *const *data;
    const int64_t *rows, *cols;
    int order;             /* of the norm */
    const double *values;  /* a factor or bound for each row, or one for all */
    int each;              /* whether there is one for each row */
    double *out;           /* a number for each piece of a row */
    int64_t piece;         /* the length of those */
    int64_t from, to;
    void (*run)(const Pass *, char *x, int64_t n, int64_t row, double *out);
};

static double larger(double a, double b) { return isnan(a) || a > b ? a : b; }

static void measure_run(const Pass *pass, char *x, int64_t n, int64_t row, double *out) {
    const Type *type = pass->type;
    double found = 0;
    (void)row;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        const void *block = x + i * type->size;
        if (pass->order == MAXIMUM) found = larger(type->peak(block, m), found);
        else found += pass->order == SUM ? type->sum(block, m) : type->squares(block, m);
    }
    *out = found;
}

/* A factor that is no normal number of single precision is taken in two steps: the second, a power
   of two, rounds nothing that the first has left. */
static void scale_run(const Pass *pass, char *x, int64_t n, int64_t row, double *out) {
    double factor = pass->values[pass->each ? row : 0];
    (void)out;
    if (factor == 1.0) return;
    if (factor != 0 && fabs(factor) < 0x1p-126) {
        double power = exp2(floor(log2(fabs(factor)) / 2));
        pass->type->scale(x, n, factor / power);
        factor = power;
    }
    pass->type->scale(x, n, factor);
}

/* Measures each block and clamps it only where it has to be, while it is in the cache; after one
   that had to be, measures and clamps at once. NaN and inf stay. */
static void clamp_run(const Pass *pass, char *x, int64_t n, int64_t row, double *out) {
    const Type *type = pass->type;
    double bound = pass->values[pass->each ? row : 0], peak = 0, found = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        char *block = x + i * type->size;
        if (peak > bound) {
            peak = type->clamp(block, m, bound);
        } else {
            peak = type->peak(block, m);
            if (peak > bound) type->clamp(block, m, bound);
        }
        found = larger(peak, found);
    }
    *out = found;
}

static int64_t pieces_of(const Pass *pass, int64_t i) {
    return (pass->cols[i] - 1) / pass->piece + 1;
}

/* The last tensor first: after a pass in the usual order it is the one still in the cache. */
static void run(const Pass *pass) {
    int64_t row = 0, before = 0, slot = 0;
    for (int64_t i = 0; i < pass->tensors; i++) {
        row += pass->rows[i], before += pass->rows[i] * pass->cols[i];
        slot += pass->rows[i] * pieces_of(pass, i);
    }
    for (int64_t i = pass->tensors - 1; i >= 0; i--) {
        int64_t cols = pass->cols[i], end = before, pieces = pieces_of(pass, i);
        /* Small tensors lie anywhere: the next one is fetched meanwhile. */
        for (int64_t at = 0; i && at < 512 && at < pass->rows[i - 1] * pass->cols[i - 1]; at += 16)
            __builtin_prefetch(pass->data[i - 1] + at * pass->type->size);
        row -= pass->rows[i], before -= pass->rows[i] * cols, slot -= pass->rows[i] * pieces;
        if (before >= pass->to || end <= pass->from) continue;
        for (int64_t r = 0; r < pass->rows[i]; r++) {
            for (int64_t p = 0; p < pieces; p++) {
                int64_t at = p * pass->piece, start = before + r * cols + at, n = cols - at;
                if (start < pass->from || start >= pass->to) continue;
                char *x = pass->data[i] + (start - before) * pass->type->size;
                n = n < pass->piece ? n : pass->piece;
                pass->run(pass, x, n, row + r, pass->out + slot + r * pieces + p);
            }
        }
    }
}

/* PyTorch's threads: GOMP_parallel of the OpenMP library that it has loaded, or NULL. They stay
   between the calls, as many as torch.set_num_threads says, and wait as those of PyTorch do. */
static void (*on_threads)(void (*)(void *), void *, unsigned, unsigned);

/* A forked process has the memory of such threads, not the threads: it would wait for ever. */
static void forget_threads(void) { on_threads = NULL; }

void gradclip_use_threads(void *parallel) {
    on_threads = (void (*)(void (*)(void *), void *, unsigned, unsigned))parallel;
    pthread_atfork(NULL, NULL, forget_threads);
}

/* A pass in shares, which threads take one after the other: each begins at its own. */
typedef struct {
    const Pass *whole;
    int64_t elements;
    int threads, arrived, shares;
    char taken[MOST_SHARES];
} Shared;

static void run_shares(void *argument) {
    Shared *shared = argument;
    int own = __atomic_fetch_add(&shared->arrived, 1, __ATOMIC_RELAXED);
    int64_t count = shared->shares, first = own * count / shared->threads;
    for (int64_t k = 0; k < count; k++) {
        int64_t s = (first + k) % count;
        if (__atomic_exchange_n(&shared->taken[s], 1, __ATOMIC_RELAXED)) continue;
        Pass share = *shared->whole;
        share.from = shared->elements * s / count, share.to = shared->elements * (s + 1) / count;
        run(&share);
    }
}

/* The number of each row, of those of its pieces. */
static void add_pieces(const Pass *pass, double *out) {
    const double *piece = pass->out;
    for (int64_t i = 0; i < pass->tensors; i++) {
        int64_t pieces = pieces_of(pass, i);
        for (int64_t r = 0; r < pass->rows[i]; r++, out++, piece += pieces) {
            *out = 0;
            for (int64_t p = 0; p < pieces; p++)
                *out = pass->order == MAXIMUM ? larger(piece[p], *out) : *out + piece[p];
        }
    }
}

/* Runs a pass, on several threads where it reads enough. Every piece is measured by itself and
   they are added up in their order, so that the results do not depend on the number of threads.
   Returns the number of rows. */
static int64_t execute(Pass *pass, int threads) {
    int64_t rows = 0, elements = 0, slots = 0;
    pass->piece = PIECE;
    for (int64_t i = 0; i < pass->tensors; i++) {
        rows += pass->rows[i], elements += pass->rows[i] * pass->cols[i];
        slots += pass->rows[i] * pieces_of(pass, i);
    }
    double *out = pass->out;
    if (out && slots > rows) {
        pass->out = malloc((size_t)slots * sizeof(double));
        if (!pass->out) pass->out = out, pass->piece = INT64_MAX;
    }
    int64_t most = elements * pass->type->size / PARALLEL;
    threads = threads < most ? threads : (int)most;
    threads = threads < MOST_SHARES / 4 ? threads : MOST_SHARES / 4;
    pass->from = 0, pass->to = elements;
    if (threads > 1 && on_threads) {
        Shared shared = {pass, elements, threads, 0, 4 * threads, {0}};
        on_threads(run_shares, &shared, (unsigned)threads, 0);
    } else {
        run(pass);
    }
    if (pass->out != out) {
        add_pieces(pass, out);
        free(pass->out);
    }
    return rows;
}

/* Sums whose powers left the range of double are taken again, relative to the largest element. */
static double rescaled(const double *x, int64_t n, int order) {
    double peak = gradclip_types[DOUBLE].peak(x, n), sum = 0;
    if (peak == 0 || !isfinite(peak)) return peak;
    for (int64_t i = 0; i < n; i++) {
        double ratio = fabs(x[i]) / peak;
        sum += order == SQUARES ? ratio * ratio : ratio;
    }
    return peak * (order == SQUARES ? sqrt(sum) : sum);
}

/* The norm of a vector of norms, which is that of all they were taken of. */
static double total(const double *norms, int64_t n, int order) {
    return order == MAXIMUM ? gradclip_types[DOUBLE].peak(norms, n) : rescaled(norms, n, order);
}

/* The norm of each row into `out`, of order infinity, 1 or 2 (0, 1, 2); returns that of all. */
double gradclip_measure(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                      int type, int order, int threads, double *out) {
    Pass pass = {.type = &gradclip_types[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .order = order, .out = out, .run = measure_run};
    int64_t all = execute(&pass, threads), row = 0;
    for (int64_t i = 0; i < tensors; i++) {
        for (int64_t r = 0; r < rows[i] && order != MAXIMUM; r++, row++) {
            int regular = type != DOUBLE || (out[row] > 1e-280 && isfinite(out[row]));
            if (!regular) out[row] = rescaled((const double *)data[i] + r * cols[i], cols[i], order);
            else if (order == SQUARES) out[row] = sqrt(out[row]);
        }
    }
    return total(out, all, order);
}

/* Multiplies each row by its factor, or all by one; rows with the factor 1 are not written. */
void gradclip_scale(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                    int type, int each, int threads, const double *factors) {
    Pass pass = {.type = &gradclip_types[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .values = factors, .each = each, .run = scale_run};
    execute(&pass, threads);
}

/* Bounds the magnitudes in each row by its bound, or all by one; the largest that each row had
   into `out`. Returns the largest of all. */
double gradclip_clamp(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                    int type, int each, int threads, const double *bounds, double *out) {
    Pass pass = {.type = &gradclip_types[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .values = bounds, .each = each, .out = out, .run = clamp_run};
    return total(out, execute(&pass, threads), MAXIMUM);
}

/* The factor limit / (norm + eps) of each norm over its limit (or over one for all), 1 elsewhere.
   Returns how many are over. */
int64_t gradclip_factors(int64_t n, const double *norms, const double *limits, int each, double eps,
                         double *factors) {
    int64_t over = 0;
    for (int64_t i = 0; i < n; i++) {
        double limit = limits[each ? i : 0];
        int within = norms[i] <= limit;
        factors[i] = within ? 1.0 : limit / (norms[i] + eps);
        over += !within;
    }
    return over;
}
