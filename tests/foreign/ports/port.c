/* The gradients of a dense network in plain C, written to be checked with `oracle vectors check`.

     cc -O1 -o port port.c -lm && ./port OUT CASE.json...

   answers the cases whose layers and losses it knows, into the folder OUT. It gives the loss and the gradients of weights and
   biases alone, as hexadecimal floats. Built with -DMISTAKE=1 to 7 one line is wrong on purpose. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef MISTAKE
#define MISTAKE 0
#endif
enum { NONE, UPDATED_WEIGHTS, NO_FACTOR_2, FIRST_COLUMN, WRONG_SIGN, STOPS_EARLY, NO_SOFTMAX, ABSOLUTE_DW };

/* ---- a small JSON reader: a tree of values ---- */

typedef struct json {
    char kind; /* '{' '[' '"' '0' or 'n' (null, true, false) */
    char *key, *text;
    double number;
    struct json *first, *next;
} json;

static char *at;

static void die(const char *why) {
    fprintf(stderr, "port: %s\n", why);
    exit(2);
}

static void space(void) {
    while (isspace((unsigned char)*at)) at++;
}

static char *string(void) {
    char *text = malloc(strlen(at) + 1), *to = text;
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\') at++; /* of the escapes these files have only the quote */
        *to++ = *at;
    }
    if (*at != '"') die("a string does not end");
    at++;
    *to = 0;
    return realloc(text, strlen(text) + 1);
}

static json *value(void) {
    json *v = calloc(1, sizeof *v), **last = &v->first;
    space();
    v->kind = *at;
    if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        at++;
        for (space(); *at != close; space()) {
            char *key = close == '}' ? string() : NULL;
            if (key) {
                space();
                if (*at++ != ':') die("a key without a value");
            }
            *last = value();
            (*last)->key = key;
            last = &(*last)->next;
            space();
            if (*at == ',') at++;
            else if (*at != close) die("a list does not end");
            space();
        }
        at++;
    } else if (*at == '"') {
        v->text = string();
    } else if (isalpha((unsigned char)*at)) {
        v->number = *at == 't';
        v->kind = 'n';
        while (isalpha((unsigned char)*at)) at++;
    } else {
        char *end;
        v->number = strtod(at, &end);
        if (end == at) die("no number");
        v->kind = '0';
        at = end;
    }
    return v;
}

static json *get(const json *object, const char *key) {
    for (json *v = object ? object->first : NULL; v; v = v->next)
        if (v->key && !strcmp(v->key, key)) return v;
    return NULL;
}

static double option(const json *record, const char *name) {
    json *v = get(get(record, "options"), name);
    return v ? v->number : 0;
}

static int is(const json *record, const char *type) { return !strcmp(get(record, "type")->text, type); }

/* ---- arrays, row by row ---- */

typedef struct {
    int rows, columns, integers;
    double *data;
} array;

static array zeros(int rows, int columns) {
    array a = {rows, columns, 0, calloc((size_t)rows * columns + 1, sizeof(double))};
    return a;
}

static array given(const json *c, const char *sign) {
    json *form = get(get(c, "given"), sign), *size;
    if (!form) return zeros(0, 0);
    int sizes[2] = {1, 1}, axes = 0;
    for (size = get(form, "shape")->first; size; size = size->next)
        if (axes++ < 2) sizes[axes - 1] = (int)size->number;
    array a = zeros(sizes[0], sizes[1]);
    a.integers = !strcmp(get(form, "dtype")->text, "int64");
    json *numbers = get(form, a.integers ? "decimal" : "hex");
    int i = 0;
    for (json *v = numbers->first; v; v = v->next, i++) a.data[i] = v->text ? strtod(v->text, NULL) : v->number;
    return a;
}

static void put(FILE *out, const char *sign, int number, array a, int axes) {
    fprintf(out, number ? ",\n  \"%s[%d]\": {\"shape\": [" : "\n  \"%s\": {\"shape\": [", sign, number);
    if (axes > 0) fprintf(out, "%d", a.rows);
    if (axes > 1) fprintf(out, ", %d", a.columns);
    fprintf(out, "], \"hex\": [");
    for (int i = 0; i < a.rows * a.columns; i++) fprintf(out, "%s\"%a\"", i ? ", " : "", a.data[i]);
    fprintf(out, "]}");
}

/* ---- activations: value and derivative at z ---- */

static const char *ACTIVATIONS[] = {"Identity", "Sigmoid", "Tanh", "ReLU", "GELU", "Softplus", "ELU"};

static double g(const json *layer, double z, double *slope) {
    if (is(layer, "Sigmoid")) {
        double s = 1 / (1 + exp(-z));
        return *slope = s * (1 - s), s;
    }
    if (is(layer, "Tanh")) {
        double t = tanh(z);
        return *slope = 1 - t * t, t;
    }
    if (is(layer, "ReLU")) return *slope = z > 0, z > 0 ? z : 0;
    if (is(layer, "GELU")) {
        double cdf = 0.5 * (1 + erf(z * sqrt(0.5)));
        return *slope = cdf + z * exp(-0.5 * z * z) / sqrt(8 * atan(1)), z * cdf;
    }
    if (is(layer, "Softplus")) {
        double beta = option(layer, "beta"), bent = beta * z <= option(layer, "threshold");
        return *slope = bent ? 1 / (1 + exp(-beta * z)) : 1, bent ? log1p(exp(beta * z)) / beta : z;
    }
    if (is(layer, "ELU")) {
        double alpha = option(layer, "alpha");
        return *slope = z > 0 ? 1 : alpha * exp(z), z > 0 ? z : alpha * expm1(z);
    }
    return *slope = 1, z;
}

static int knows(const json *c) {
    json *loss = get(get(c, "network"), "loss"), *weight = get(get(loss, "options"), "weight");
    json *x_shape = get(get(get(c, "given"), "x"), "shape"), *reduction = get(get(loss, "options"), "reduction");
    if (!x_shape->first->next || x_shape->first->next->next) return 0;
    if (!is(loss, "MSELoss") && !is(loss, "CrossEntropyLoss")) return 0;
    if (!strcmp(reduction->text, "none") || option(loss, "label_smoothing") != 0 || (weight && weight->kind != 'n')) return 0;
    for (json *layer = get(get(c, "network"), "layers")->first; layer; layer = layer->next) {
        size_t known = is(layer, "Linear");
        json *approximate = get(get(layer, "options"), "approximate");
        for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++) known |= is(layer, ACTIVATIONS[i]);
        if (!known || (approximate && !strcmp(approximate->text, "tanh"))) return 0;
    }
    return get(get(c, "network"), "layers")->first != NULL;
}

/* ---- losses: C, and dC/da in place of a ---- */

static double mse(array a, array y, int mean, double upstream) {
    double sum = 0, count = mean ? a.rows * a.columns : 1;
    for (int i = 0; i < a.rows * a.columns; i++) {
        double error = a.data[i] - y.data[i];
        sum += error * error;
        a.data[i] = (MISTAKE == NO_FACTOR_2 ? 1 : 2) * error * upstream / count;
    }
    return sum / count;
}

static double cross_entropy(array a, array y, int mean, double ignored, double upstream) {
    double sum = 0, count = 0;
    int m = a.columns;
    for (int j = 0; j < m; j++) count += !(y.integers && y.data[j] == ignored);
    if (!mean) count = 1;
    for (int j = 0; j < m; j++) {
        double top = -HUGE_VAL, total = 0, mass = 0;
        int skip = y.integers && y.data[j] == ignored;
        for (int i = 0; i < a.rows; i++) top = fmax(top, a.data[i * m + j]);
        for (int i = 0; i < a.rows; i++) total += exp(a.data[i * m + j] - top);
        for (int i = 0; i < a.rows; i++) mass += y.integers ? y.data[j] == i : y.data[i * m + j];
        for (int i = 0; i < a.rows; i++) {
            double z = a.data[i * m + j], target = y.integers ? y.data[j] == i : y.data[i * m + j];
            double p = MISTAKE == NO_SOFTMAX ? z : exp(z - top) / total;
            if (!skip && target != 0) sum -= target * (z - top - log(total));
            a.data[i * m + j] = skip ? 0 : (p * mass - target) * upstream / count;
        }
    }
    return sum / count;
}

/* ---- forward and back ---- */

#define MOST 32
static void answer(const json *c, FILE *out) {
    array nodes[MOST + 1], W[MOST], b[MOST], dW[MOST], db[MOST], y = given(c, "y");
    json *layers[MOST], *loss = get(get(c, "network"), "loss");
    int count = 0, l = 0, number[MOST];
    char sign[32];

    nodes[0] = given(c, "x");
    int m = nodes[0].columns;
    for (json *layer = get(get(c, "network"), "layers")->first; layer; layer = layer->next, count++) {
        if (count == MOST) die("too many layers");
        array in = nodes[count];
        layers[count] = layer;
        if (is(layer, "Linear")) {
            number[count] = ++l;
            snprintf(sign, sizeof sign, "W[%d]", l);
            W[count] = given(c, sign);
            snprintf(sign, sizeof sign, "b[%d]", l);
            b[count] = given(c, sign);
            nodes[count + 1] = zeros(W[count].rows, m);
            for (int i = 0; i < W[count].rows; i++)
                for (int j = 0; j < m; j++) {
                    double sum = b[count].rows ? b[count].data[i] : 0;
                    for (int k = 0; k < in.rows; k++) sum += W[count].data[i * in.rows + k] * in.data[k * m + j];
                    nodes[count + 1].data[i * m + j] = sum;
                }
        } else {
            double slope;
            nodes[count + 1] = zeros(in.rows, m);
            for (int i = 0; i < in.rows * m; i++) nodes[count + 1].data[i] = g(layer, in.data[i], &slope);
        }
    }

    array delta = nodes[count], C = zeros(1, 1);
    double upstream = given(c, "dC'/dC").data[0];
    int mean = !strcmp(get(get(loss, "options"), "reduction")->text, "mean");
    C.data[0] = is(loss, "MSELoss") ? mse(delta, y, mean, upstream)
                                    : cross_entropy(delta, y, mean, option(loss, "ignore_index"), upstream);
    for (int s = count - 1; s >= 0; s--) {
        array in = nodes[s];
        if (!is(layers[s], "Linear")) {
            for (int i = 0; i < in.rows * m; i++) {
                double slope;
                g(layers[s], in.data[i], &slope);
                delta.data[i] *= slope;
            }
            continue;
        }
        array back = zeros(in.rows, m);
        dW[s] = zeros(W[s].rows, W[s].columns);
        db[s] = zeros(W[s].rows, 1);
        if (MISTAKE != STOPS_EARLY || s > 0)
            for (int i = 0; i < delta.rows; i++)
                for (int j = 0; j < m; j++) {
                    double d = delta.data[i * m + j];
                    if (MISTAKE != FIRST_COLUMN || j == 0) db[s].data[i] += d;
                    for (int k = 0; k < in.rows; k++) dW[s].data[i * in.rows + k] += d * in.data[k * m + j];
                }
        if (MISTAKE == UPDATED_WEIGHTS) /* with a learning rate of 0.1 */
            for (int i = 0; i < W[s].rows * W[s].columns; i++) W[s].data[i] -= 0.1 * dW[s].data[i];
        for (int i = 0; i < W[s].rows * W[s].columns; i++) {
            if (MISTAKE == WRONG_SIGN) dW[s].data[i] = -dW[s].data[i];
            if (MISTAKE == ABSOLUTE_DW) dW[s].data[i] = fabs(dW[s].data[i]);
        }
        for (int i = 0; i < delta.rows; i++)
            for (int j = 0; j < m; j++)
                for (int k = 0; k < in.rows; k++)
                    back.data[k * m + j] += W[s].data[i * in.rows + k] * delta.data[i * m + j];
        delta = back;
    }

    fprintf(out, "{\"format\": \"oracle-vectors answer\", \"version\": 1, \"port\": \"port.c\",\n \"case\": \"%s\",\n",
            get(c, "case")->text);
    fprintf(out, " \"quantities\": {");
    put(out, "C", 0, C, 0);
    for (int s = 0; s < count; s++)
        if (is(layers[s], "Linear")) {
            put(out, "dC/dW", number[s], dW[s], 2);
            if (b[s].rows) put(out, "dC/db", number[s], db[s], 1);
        }
    fprintf(out, "\n}}\n");
}

int main(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        FILE *in = fopen(argv[i], "rb");
        if (!in) die("a case cannot be opened");
        fseek(in, 0, SEEK_END);
        long size = ftell(in);
        rewind(in);
        char *text = calloc((size_t)size + 1, 1), path[4096], *name = strrchr(argv[i], '/');
        if (fread(text, 1, (size_t)size, in) != (size_t)size) die("a case cannot be read");
        fclose(in);
        at = text;
        json *c = value();
        if (!knows(c)) continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], name ? name + 1 : argv[i]);
        FILE *out = fopen(path, "w");
        if (!out) die("an answer cannot be written");
        answer(c, out);
        fclose(out);
    }
    return 0;
}
