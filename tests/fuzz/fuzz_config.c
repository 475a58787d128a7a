/* A configuration: sound, or refused with a sentence that names the place. */
#include "agent/service/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config = NULL;
    if (config_parse((const char *)data, size, "f.yaml", &config, &diag) == LEGO_OK)
        config_free(config);
    else if (strncmp(diag.text, "f.yaml:", 7) != 0)
        abort();
    return 0;
}
