/*
 * What the commands that ask the agent share.
 */
#ifndef LEGO_CLI_AGENT_H
#define LEGO_CLI_AGENT_H

#include "agent/cli/options.h"
#include "agent/client/legonet_client.h"

/* First field of such a command's options. */
struct agent_options {
    const char *socket;
    double timeout_s;
    bool json;
};

/* The options for them, to stand in the command's table. `json_help` says what --json prints. */
#define AGENT_OPTIONS(json_help)                                                            \
    {.name = "socket",                                                                      \
     .letter = 's',                                                                         \
     .type = CLI_STRING,                                                                    \
     .offset = offsetof(struct agent_options, socket),                                      \
     .value = "PATH",                                                                       \
     .help = "the agent's socket (default: the environment's " LEGO_CLIENT_SOCKET_ENV ",\n" \
             "else " LEGO_CLIENT_SOCKET ")"},                                               \
        {.name = "timeout",                                                                 \
         .type = CLI_DOUBLE,                                                                \
         .offset = offsetof(struct agent_options, timeout_s),                               \
         .value = "SECONDS",                                                                \
         .otherwise = "30",                                                                 \
         .min = 0.001,                                                                      \
         .max = 86400,                                                                      \
         .help = "give up on an answer after that"},                                        \
    {                                                                                       \
        .name = "json", .type = CLI_FLAG, .offset = offsetof(struct agent_options, json),   \
        .help = json_help                                                                   \
    }

int agent_connect(const struct agent_options *options, struct lego_client **ret_client,
                  struct lego_diag *diag);

#endif
