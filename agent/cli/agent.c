#include "agent/cli/agent.h"

int agent_connect(const struct agent_options *options, struct lego_client **ret_client,
                  struct lego_diag *diag)
{
    struct lego_client_options client = {.timeout_ms = (int)(options->timeout_s * 1000)};
    return lego_client_connect(options->socket, &client, ret_client, diag);
}
