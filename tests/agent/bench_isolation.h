#ifndef LEGO_TESTS_AGENT_BENCH_ISOLATION_H
#define LEGO_TESTS_AGENT_BENCH_ISOLATION_H

#include "tests/agent/harness.h"

/* Prints how long requests of model "a" take, alone and while model "b" is unloaded and loaded
 * again and again, in turns. */
void bench_isolation(const struct agent *agent);

#endif
