#include "codec/encode/images.h"
#include "codec/base/status.h"
#include "codec/encode/portable.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TEXTURES         48
#define TEXTURE_MAX_SIDE 256

struct image_pool {
    uint32_t width, height; /* of a picture; leaves are drawn at twice that */
    uint64_t seed;
    uint32_t side;   /* of a texture, a power of two: they wrap around */
    float *textures; /* [TEXTURES][side][side], mean 0, variance 1 */
    bool failed;
};

/* How the amplitude of a texture falls with frequency. */
struct spectrum {
    double exponent; /* amplitude ~ f^-exponent */
    double centre;   /* > 0: band-pass around it instead (cycles a pixel) */
    double stretch;  /* along `angle` */
    double angle;    /* turns */
    double floor;    /* added to every frequency */
};

/* In-place radix-2 transform of `n` complex numbers that lie `stride` apart. */
static void transform(double *re, double *im, uint32_t n, size_t stride)
{
    for (uint32_t i = 1, j = 0; i < n; i++) {
        uint32_t bit = n >> 1;

        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            const double r = re[i * stride], m = im[i * stride];
            re[i * stride] = re[j * stride];
            im[i * stride] = im[j * stride];
            re[j * stride] = r;
            im[j * stride] = m;
        }
    }
    for (uint32_t length = 2; length <= n; length *= 2) {
        for (uint32_t k = 0; k < length / 2; k++) {
            double sine, cosine;

            portable_sincos((double)k / length, &sine, &cosine);
            for (uint32_t i = k; i < n; i += length) {
                double *ra = re + i * stride, *ia = im + i * stride;
                double *rb = ra + length / 2 * stride, *ib = ia + length / 2 * stride;
                const double r = *rb * cosine - *ib * sine, m = *rb * sine + *ib * cosine;

                *rb = *ra - r;
                *ib = *ia - m;
                *ra += r;
                *ia += m;
            }
        }
    }
}

static double amplitude(const struct spectrum *s, double fx, double fy)
{
    double sine, cosine;

    portable_sincos(s->angle, &sine, &cosine);
    const double u = fx * cosine + fy * sine, v = (fy * cosine - fx * sine) * s->stretch;
    const double f = sqrt(u * u + v * v) + s->floor;
    if (s->centre > 0) {
        const double octaves = portable_log(f / s->centre) / 0.35;
        return portable_exp(-0.5 * octaves * octaves) / f;
    }
    return portable_pow(f, -s->exponent);
}

/* Fills `out` [side][side] with noise of that spectrum, mean 0, variance 1. */
static int make_noise(struct encode_random *random, const struct spectrum *spectrum, uint32_t side,
                      float *out)
{
    const size_t count = (size_t)side * side;
    double *re = malloc(2 * count * sizeof(*re)), *im = re + count, energy = 0;

    if (!re)
        return LEGO_E_NOMEM;
    for (uint32_t y = 0; y < side; y++) {
        for (uint32_t x = 0; x < side; x++) {
            const double fx = ((double)x - (x > side / 2 ? side : 0)) / side;
            const double fy = ((double)y - (y > side / 2 ? side : 0)) / side;
            const double a = x || y ? amplitude(spectrum, fx, fy) : 0;

            re[(size_t)y * side + x] = a * random_normal(random);
            im[(size_t)y * side + x] = a * random_normal(random);
        }
    }
    for (uint32_t y = 0; y < side; y++)
        transform(re + (size_t)y * side, im + (size_t)y * side, side, 1);
    for (uint32_t x = 0; x < side; x++)
        transform(re + x, im + x, side, side);
    for (size_t i = 0; i < count; i++)
        energy += re[i] * re[i];
    const double scale = energy > 0 ? sqrt((double)count / energy) : 0;
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(re[i] * scale);
    free(re);
    return LEGO_OK;
}

static void make_texture(void *context, size_t index)
{
    struct image_pool *pool = context;
    struct encode_random random;
    struct spectrum s = {.floor = 1.5 / pool->side};

    encode_random_seed(&random, pool->seed ^ (0x7e87 + index * 0x9e3779b97f4a7c15u));
    s.angle = encode_random_unit(&random) / 2;
    s.stretch = random_integer(&random, 0, 3) == 0 ? random_uniform(&random, 1, 6) : 1;
    if (index % 4 == 0)
        s.centre = portable_pow(2, random_uniform(&random, -7, -2.3));
    s.exponent = random_uniform(&random, 0.9, 2);
    if (make_noise(&random, &s, pool->side, pool->textures + index * pool->side * pool->side) !=
        LEGO_OK)
        __atomic_store_n(&pool->failed, true, __ATOMIC_RELAXED);
}

static uint32_t texture_side(uint32_t pixels)
{
    uint32_t side = 16;

    while (side < pixels && side < TEXTURE_MAX_SIDE)
        side *= 2;
    return side;
}

struct image_pool *image_pool_create(uint32_t width, uint32_t height, uint64_t seed,
                                     struct encode_workers *workers)
{
    struct image_pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return NULL;
    pool->width = width;
    pool->height = height;
    pool->seed = seed;
    pool->side = texture_side(2 * (width > height ? width : height));
    pool->textures = malloc(sizeof(float) * TEXTURES * pool->side * pool->side);
    if (!pool->textures) {
        free(pool);
        return NULL;
    }
    encode_workers_run(workers, TEXTURES, make_texture, pool);
    if (pool->failed) {
        image_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void image_pool_destroy(struct image_pool *pool)
{
    if (!pool)
        return;
    free(pool->textures);
    free(pool);
}

/* A picture in the making, at twice its size. */
struct canvas {
    const struct image_pool *pool;
    struct encode_random random;
    uint32_t width, height;
    float *pixels; /* [height][width][3] */
};

/* A texture at a random place, with its own strength in each channel. */
struct patch {
    const float *texture;
    uint32_t mask, x, y;
    float strength[3];
};

static struct patch pick_patch(struct canvas *canvas)
{
    const struct image_pool *pool = canvas->pool;
    struct patch patch = {.mask = pool->side - 1};
    const int which = random_integer(&canvas->random, 0, TEXTURES);

    patch.texture = pool->textures + (size_t)which * pool->side * pool->side;
    patch.y = (uint32_t)random_integer(&canvas->random, 0, (int)pool->side);
    patch.x = (uint32_t)random_integer(&canvas->random, 0, (int)pool->side);
    const double amount = 0.12 * random_exponential(&canvas->random);
    for (int c = 0; c < 3; c++)
        patch.strength[c] = (float)(amount * (1 + 0.3 * random_normal(&canvas->random)));
    return patch;
}

static float patch_at(const struct patch *patch, uint32_t x, uint32_t y)
{
    return patch->texture[(size_t)((y + patch->y) & patch->mask) * (patch->mask + 1) +
                          ((x + patch->x) & patch->mask)];
}

static void draw_background(struct canvas *canvas)
{
    const struct patch patch = pick_patch(canvas);
    const double grey = 0.47 + 0.2 * random_normal(&canvas->random);
    const double gy = 0.15 * random_normal(&canvas->random) / canvas->height;
    const double gx = 0.1 * random_normal(&canvas->random) / canvas->width;
    float base[3];

    for (int c = 0; c < 3; c++)
        base[c] = (float)(0.3 * (0.47 + 0.2 * random_normal(&canvas->random)) + 0.7 * grey);
    for (uint32_t y = 0; y < canvas->height; y++) {
        for (uint32_t x = 0; x < canvas->width; x++) {
            const float t = patch_at(&patch, x, y);
            const float slope = (float)(((double)y - canvas->height / 2.0) * gy +
                                        ((double)x - canvas->width / 2.0) * gx);
            float *pixel = canvas->pixels + 3 * ((size_t)y * canvas->width + x);

            for (int c = 0; c < 3; c++)
                pixel[c] = base[c] + t * patch.strength[c] + slope;
        }
    }
}

/* One shape: a rotated ellipse or rectangle. */
struct leaf {
    double x, y, radius, sine, cosine, aspect;
    bool ellipse;
    double shade_x, shade_y;
    float colour[3];
    struct patch patch;
};

static struct leaf pick_leaf(struct canvas *canvas)
{
    struct encode_random *random = &canvas->random;
    const double side = sqrt((double)canvas->width * canvas->height);
    struct leaf leaf = {0};

    leaf.radius = fmin(
        0.45 * side, side / 21.33 / (portable_pow(encode_random_unit(random) + 1e-12, 0.7) + 1e-3));
    leaf.x = encode_random_unit(random) * canvas->width;
    leaf.y = encode_random_unit(random) * canvas->height;
    leaf.ellipse = encode_random_unit(random) < 0.5;
    portable_sincos(encode_random_unit(random) / 2, &leaf.sine, &leaf.cosine);
    leaf.aspect = leaf.ellipse ? 1 / random_uniform(random, 1, 3) : random_uniform(random, 0.1, 1);
    const double grey = 0.47 + 0.35 * random_normal(random);
    for (int c = 0; c < 3; c++)
        leaf.colour[c] = (float)fmin(fmax(grey + 0.12 * random_normal(random), 0), 1);
    leaf.shade_x = random_uniform(random, -0.15, 0.15) / leaf.radius;
    leaf.shade_y = random_uniform(random, -0.15, 0.15) / leaf.radius;
    leaf.patch = pick_patch(canvas);
    return leaf;
}

static bool leaf_covers(const struct leaf *leaf, double dx, double dy)
{
    const double u = dx * leaf->cosine + dy * leaf->sine;
    const double v = (dy * leaf->cosine - dx * leaf->sine) / leaf->aspect;

    if (leaf->ellipse)
        return u * u + v * v < leaf->radius * leaf->radius;
    return fabs(u) < leaf->radius && fabs(v) < leaf->radius;
}

static void draw_leaf(struct canvas *canvas, const struct leaf *leaf)
{
    const double reach = leaf->radius * 1.42 + 1;
    const uint32_t y0 = (uint32_t)fmax(leaf->y - reach, 0);
    const uint32_t y1 = (uint32_t)fmin(leaf->y + reach + 1, canvas->height);
    const uint32_t x0 = (uint32_t)fmax(leaf->x - reach, 0);
    const uint32_t x1 = (uint32_t)fmin(leaf->x + reach + 1, canvas->width);

    for (uint32_t y = y0; y < y1; y++) {
        for (uint32_t x = x0; x < x1; x++) {
            const double dx = x - leaf->x, dy = y - leaf->y;

            if (!leaf_covers(leaf, dx, dy))
                continue;
            const float shade = (float)(1 + leaf->shade_x * dx + leaf->shade_y * dy);
            const float t = patch_at(&leaf->patch, x, y);
            float *pixel = canvas->pixels + 3 * ((size_t)y * canvas->width + x);
            for (int c = 0; c < 3; c++)
                pixel[c] = shade * leaf->colour[c] + t * leaf->patch.strength[c];
        }
    }
}

/* Adds coloured pink noise to the finished picture. */
static int add_noise(struct canvas *canvas, float *out)
{
    static const float mix[3][3] = {{1, 0.21f, 0.09f}, {1, 0, -0.15f}, {1, -0.21f, 0.09f}};
    const uint32_t width = canvas->pool->width, height = canvas->pool->height;
    const uint32_t side = texture_side(width > height ? width : height);
    const size_t plane = (size_t)width * height;
    const struct spectrum spectrum = {
        .exponent = random_uniform(&canvas->random, 0.8, 1.8), .stretch = 1, .floor = 1e-9};
    const double strength =
        random_uniform(&canvas->random, 0.1, 0.3) * random_uniform(&canvas->random, 0, 0.4);
    float *noise = malloc(sizeof(float) * side * side);

    if (!noise)
        return LEGO_E_NOMEM;
    for (int k = 0; k < 3; k++) {
        if (make_noise(&canvas->random, &spectrum, side, noise) != LEGO_OK) {
            free(noise);
            return LEGO_E_NOMEM;
        }
        for (int c = 0; c < 3; c++) {
            const float scale = (float)strength * mix[c][k];

            for (size_t i = 0; i < plane; i++)
                out[(size_t)c * plane + i] +=
                    scale * noise[(i / width & (side - 1)) * side + (i % width & (side - 1))];
        }
    }
    free(noise);
    return LEGO_OK;
}

/* Halves the canvas by averaging 2x2 pixels, into planes. */
static void shrink(const struct canvas *canvas, float *out)
{
    const uint32_t width = canvas->pool->width, height = canvas->pool->height;
    const size_t row = (size_t)canvas->width * 3;

    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            const float *p = canvas->pixels + 2 * y * row + (size_t)x * 6;

            for (int c = 0; c < 3; c++)
                out[((size_t)c * height + y) * width + x] =
                    0.25f * (p[c] + p[3 + c] + p[row + c] + p[row + 3 + c]);
        }
    }
}

int image_draw(const struct image_pool *pool, uint64_t index, float *out)
{
    struct canvas canvas = {.pool = pool, .width = 2 * pool->width, .height = 2 * pool->height};
    const size_t plane = (size_t)pool->width * pool->height;
    int status;

    encode_random_seed(&canvas.random, pool->seed + 0x632be59bd9b4e019u * (index + 1));
    canvas.pixels = malloc(sizeof(float) * 3 * canvas.width * canvas.height);
    if (!canvas.pixels)
        return LEGO_E_NOMEM;
    draw_background(&canvas);
    for (int leaves = random_integer(&canvas.random, 8, 40); leaves > 0; leaves--) {
        const struct leaf leaf = pick_leaf(&canvas);
        draw_leaf(&canvas, &leaf);
    }
    shrink(&canvas, out);
    free(canvas.pixels);
    status = add_noise(&canvas, out);
    for (size_t i = 0; i < 3 * plane; i++)
        out[i] = fminf(fmaxf(out[i], 0), 1);
    return status;
}
