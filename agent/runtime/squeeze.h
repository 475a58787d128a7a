/*
 * Squeeze-and-excitation blocks: what makes their gates as one step, and Muls by gates that wait
 * for the convolution that reads them (plan_squeeze.c).
 */
#ifndef LEGO_RUNTIME_SQUEEZE_H
#define LEGO_RUNTIME_SQUEEZE_H

#include "agent/runtime/plan.h"

/* Finds all of them before nodes are planned, and behind attention and means: takes their nodes
 * from the mean to the one that makes the gates, and sets b->squeeze of that. */
int plan_find_squeezes(struct plan_builder *b);

/* Plans one of them, in the place of its last node. */
int plan_squeeze(struct plan_builder *b, const struct squeeze *found);

/* Where plan_mul has left the Mul of `graph_value` to its reader: the value in channels-last and
 * its gates, [batch][channels], for a reader that multiplies by itself. */
int plan_take_gate(struct plan_builder *b, int32_t graph_value, int32_t *ret_x, int32_t *ret_gate);

#endif
