/*
 * Synthetic pictures for calibration without data: "dead leaves" (Lee, Mumford, Huang, "Occlusion
 * models for natural images", 2001) with textures. A picture is shapes of random size, place and
 * colour that hide one another, each with its own texture, shaded, over pink noise.
 */
#ifndef LEGO_ENCODE_IMAGES_H
#define LEGO_ENCODE_IMAGES_H

#include "codec/encode/workers.h"

#include <stddef.h>
#include <stdint.h>

struct image_pool;

/* Prepares textures for pictures of `width` x `height` (1 to 16384). NULL when out of memory. */
struct image_pool *image_pool_create(uint32_t width, uint32_t height, uint64_t seed,
                                     struct encode_workers *workers);
void image_pool_destroy(struct image_pool *pool);

/*
 * Draws picture number `index`: red, green, blue planes [3][height][width] in 0 to 1 into `out`.
 * The same number gives the same picture. Many threads may share a pool. LEGO_E_NOMEM.
 */
int image_draw(const struct image_pool *pool, uint64_t index, float *out);

#endif
