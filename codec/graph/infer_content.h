/*
 * Inside codec/graph: what is known, element by element, about small integer tensors.
 */
#ifndef LEGO_GRAPH_INFER_CONTENT_H
#define LEGO_GRAPH_INFER_CONTENT_H

#include "codec/graph/infer_node.h"

/* Larger tensors are no shapes. */
#define INFER_CONTENT_MAX 256
/* Of floating numbers: a shape on its way through a Resize's scales. */
#define INFER_REAL_MAX (2 * LEGO_MAX_RANK)

/*
 * Computes the content of output 0 of a node that was just inferred (its io has the results), from
 * constants, contents and shapes of its inputs. *ret_content lies in `arena`; it is NULL where
 * nothing is known. Never fails: what cannot be computed is open.
 */
void infer_content(const struct infer_context *c, struct lego_arena *arena,
                   struct infer_content **ret_content);

/* True where every element is a known number. */
bool infer_content_is_constant(const struct infer_content *content);

#endif
