/*
 * Self-test vectors: what a package answers to generated numbers, stored with it.
 */
#ifndef LEGO_CLI_SELFTEST_H
#define LEGO_CLI_SELFTEST_H

#include "agent/runtime/legonet.h"

/*
 * Runs `package` (which `model` was made from, and keeps) on inputs from `seed` and stores what
 * came out as its self-test. Open dimensions become 1, or what its preprocessing says. Where the
 * model cannot be tested so (generated numbers make no sense to it, its outputs are not finite or
 * larger than `limit_bytes`) the status is E_UNSUPPORTED, the diag says why, and the package has no
 * self-test.
 */
int selftest_attach(struct lego_package *package, struct lego_model *model, uint64_t seed,
                    size_t limit_bytes, uint32_t threads, struct lego_diag *diag);

#endif
