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
#define BLOCK 4096       /* elements measured, and then clamped while they are in the cache */
#define PARALLEL 1000000 /* elements from which threads pay */
#define MOST_THREADS 64

/* One pass over all tensors, or one thread's share of it: the elements `from` to `to`. */
typedef struct Pass Pass;
struct Pass {
    const Type *type;
    int64_t tensors;
    char *const *data;
    const int64_t *rows, *cols;
    int order;             /* of the norm */
    const double *values;  /* a factor or bound for each row, or one for all */
    int each;              /* whether there is one for each row */
    double *out;           /* a number for each row */
    int64_t out_rows;      /* of which there are so many */
    int64_t from, to;
    void (*run)(const Pass *, char *x, int64_t n, int64_t row);
};

static double larger(double a, double b) { return isnan(a) || a > b ? a : b; }

static void take(const Pass *pass, int64_t row, double found) {
    double *out = pass->out + row;
    *out = pass->order == MAXIMUM ? larger(found, *out) : *out + found;
}

static void measure_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    const Type *type = pass->type;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        const void *block = x + i * type->size;
        if (pass->order == MAXIMUM) take(pass, row, type->peak(block, m));
        else take(pass, row, pass->order == SUM ? type->sum(block, m) : type->squares(block, m));
    }
}

static void scale_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    double factor = pass->values[pass->each ? row : 0];
    if (factor != 1.0) pass->type->scale(x, n, factor);
}

/* Measures each block and clamps it only where it has to be, while it is in the cache; after one
   that had to be, measures and clamps at once. NaN and inf stay. */
static void clamp_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    const Type *type = pass->type;
    double bound = pass->values[pass->each ? row : 0], peak = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        char *block = x + i * type->size;
        if (peak > bound) {
            peak = type->clamp(block, m, bound);
        } else {
            peak = type->peak(block, m);
            if (peak > bound) type->clamp(block, m, bound);
        }
        take(pass, row, peak);
    }
}

/* The last tensor first: after a pass in the usual order it is the one still in the cache. */
static void *run(void *argument) {
    const Pass *pass = argument;
    int64_t row = 0, before = 0;
    for (int64_t i = 0; i < pass->tensors; i++)
        row += pass->rows[i], before += pass->rows[i] * pass->cols[i];
    for (int64_t i = pass->tensors - 1; i >= 0; i--) {
        int64_t cols = pass->cols[i], end = before;
        /* Small tensors lie anywhere: the next one is fetched meanwhile. */
        for (int64_t at = 0; i && at < 512 && at < pass->rows[i - 1] * pass->cols[i - 1]; at += 16)
            __builtin_prefetch(pass->data[i - 1] + at * pass->type->size);
        row -= pass->rows[i], before -= pass->rows[i] * cols;
        if (before >= pass->to || end <= pass->from) continue;
        for (int64_t r = 0; r < pass->rows[i]; r++) {
            int64_t start = before + r * cols, from = start, to = start + cols;
            from = from < pass->from ? pass->from : from;
            to = to > pass->to ? pass->to : to;
            if (from >= to) continue;
            char *x = pass->data[i] + (from - before) * pass->type->size;
            pass->run(pass, x, to - from, row + r);
        }
    }
    return NULL;
}

/* Runs a pass on several threads, each with numbers of its own for the rows. */
static void divide(Pass *whole, int64_t rows, int64_t elements, int threads) {
    Pass shares[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    int started[MOST_THREADS] = {0};
    threads = threads > MOST_THREADS ? MOST_THREADS : threads;
    int64_t length = elements / threads + 1;
    double *outs = whole->out ? calloc((size_t)(rows * threads), sizeof(double)) : NULL;
    if (whole->out && !outs) {
        run(whole);
        return;
    }
    for (int t = 0; t < threads; t++) {
        shares[t] = *whole;
        shares[t].from = t * length, shares[t].to = (t + 1) * length;
        if (outs) shares[t].out = outs + t * rows;
        if (t) started[t] = pthread_create(&ids[t], NULL, run, &shares[t]) == 0;
    }
    run(&shares[0]);
    for (int t = 1; t < threads; t++) {
        if (started[t]) pthread_join(ids[t], NULL);
        else run(&shares[t]);
    }
    for (int t = 0; outs && t < threads; t++)
        for (int64_t row = 0; row < rows; row++) take(whole, row, outs[t * rows + row]);
    free(outs);
}

static void execute(Pass *pass, int threads) {
    int64_t rows = 0, elements = 0;
    for (int64_t i = 0; i < pass->tensors; i++)
        rows += pass->rows[i], elements += pass->rows[i] * pass->cols[i];
    pass->to = elements, pass->out_rows = rows;
    if (pass->out) memset(pass->out, 0, (size_t)rows * sizeof(double));
    if (threads > 1 && elements >= PARALLEL) divide(pass, rows, elements, threads);
    else run(pass);
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
    execute(&pass, threads);
    int64_t row = 0;
    for (int64_t i = 0; i < tensors; i++) {
        for (int64_t r = 0; r < rows[i] && order != MAXIMUM; r++, row++) {
            int regular = type != DOUBLE || (out[row] > 1e-280 && isfinite(out[row]));
            if (!regular) out[row] = rescaled((const double *)data[i] + r * cols[i], cols[i], order);
            else if (order == SQUARES) out[row] = sqrt(out[row]);
        }
    }
    return total(out, pass.out_rows, order);
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
    execute(&pass, threads);
    return total(out, pass.out_rows, MAXIMUM);
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
