/* How the columns of coded weights are cut in parts, and which k of a panel each becomes. */
#ifndef LEGO_RUNTIME_WEIGHTS_SPLIT_H
#define LEGO_RUNTIME_WEIGHTS_SPLIT_H

#include "agent/runtime/weights.h"

/* Makes the weights' splits: the whole matrix as one. E_NOMEM. */
int weights_split_none(struct weights *weights);

/* The same, in parts where panels would be too large or the key asks for it. */
int weights_split_columns(struct weights *weights);

#endif
