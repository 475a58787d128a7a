/*
 * Inside codec/import: what the functions of upgrade.def share.
 */
#ifndef LEGO_IMPORT_UPGRADE_H
#define LEGO_IMPORT_UPGRADE_H

#include "codec/import/build.h"

/* Notes a node that cannot be read; returns 0, the import fails after the last node. */
int upgrade_refuse(struct import_builder *builder, const struct import_draft *draft,
                   const char *what);

/* Puts a value at an input; those between become absent. */
void draft_set_input(struct import_draft *draft, uint32_t index, int32_t value);

/* Attributes. Setting takes one of the DRAFT_SPARE places if the draft has none of that name; names
 * and texts are not copied. */
struct lego_attr *draft_set_attr(struct import_draft *draft, const char *name,
                                 enum lego_attr_type type);
void draft_set_int(struct import_draft *draft, const char *name, int64_t value);
void draft_set_float(struct import_draft *draft, const char *name, float value);
void draft_set_string(struct import_draft *draft, const char *name, const char *value);
const char *draft_string(const struct import_draft *draft, const char *name, const char *otherwise);
int64_t draft_int(const struct import_draft *draft, const char *name, int64_t otherwise);
float draft_float(const struct import_draft *draft, const char *name, float otherwise);

/* Moves an INTS (or, as a scalar or list of one, INT) attribute to an int64 input. */
int upgrade_ints_to_input(struct import_builder *builder, struct import_draft *draft,
                          const char *name, uint32_t index);

/* Adds a node before the draft's own and returns the value of its only output, or an error with the
 * diag written. */
int32_t upgrade_emit(struct import_builder *builder, const struct import_draft *draft,
                     enum lego_op op, uint32_t input_count, const int32_t *inputs,
                     uint32_t attr_count, const struct lego_attr *attrs);

/* The same for a value that there is already: the other outputs of a draft. */
int upgrade_emit_to(struct import_builder *builder, const struct import_draft *draft,
                    enum lego_op op, uint32_t input_count, const int32_t *inputs, int32_t output);

/* Makes the draft a node of these inputs and without attributes; its outputs stay. */
void upgrade_become(struct import_draft *draft, enum lego_op op, uint32_t input_count,
                    const int32_t *inputs);

#define IMPORT_UPGRADE(type, below, function) \
    int upgrade_##function(struct import_builder *builder, struct import_draft *draft);
#define IMPORT_FOREIGN(domain, type, op, function) IMPORT_UPGRADE(type, 0, function)
#include "codec/import/upgrade.def"
#undef IMPORT_FOREIGN
#undef IMPORT_UPGRADE

#endif
