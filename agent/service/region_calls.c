#include "agent/service/region_calls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef Legonet__RegionRegisterRequest__Region region_wanted;
typedef Legonet__RegionStatusResponse__Region region_shown;

bool region_call_is(const Legonet__Request *request)
{
    return request->call_case == LEGONET__REQUEST__CALL_REGION_REGISTER ||
           request->call_case == LEGONET__REQUEST__CALL_REGION_UNREGISTER ||
           request->call_case == LEGONET__REQUEST__CALL_REGION_STATUS;
}

static int no_memory(struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_NOMEM, "no memory for the client's regions");
}

static int check_wanted(const struct connection *connection, const struct region_table *table,
                        const region_wanted *wanted, struct lego_diag *diag)
{
    size_t length = strlen(wanted->name), count = table ? table->count : 0;
    if (length == 0 || length > REGION_NAME_BYTES)
        return lego_fail(diag, LEGO_E_INVALID,
                         "the name of a region has 1 to %d bytes, \"%.32s\" has %zu",
                         REGION_NAME_BYTES, wanted->name, length);
    if (region_table_find(table, wanted->name))
        return lego_fail(diag, LEGO_E_EXISTS, "region \"%s\" is registered already", wanted->name);
    if (count >= connection->host->max_regions)
        return lego_fail(diag, LEGO_E_LIMIT, "the client has %zu regions already (limits.regions)",
                         count);
    return LEGO_OK;
}

/* *table with one region more; takes the descriptor. */
static int add_region(const struct connection *connection, struct region_table **table,
                      const region_wanted *wanted, int fd, struct lego_diag *diag)
{
    struct region_table *next;
    struct region *region;
    size_t used = *table ? (*table)->bytes : 0;
    int status = check_wanted(connection, *table, wanted, diag);
    if (status != LEGO_OK) {
        close(fd);
        return status;
    }
    status = region_map(wanted->name, fd, wanted->byte_size, wanted->writable != 0,
                        connection->host->max_region_bytes - used, &region, diag);
    if (status != LEGO_OK)
        return status;
    if (region_table_with(*table, region, &next) != LEGO_OK) {
        region_release(region);
        return no_memory(diag);
    }
    region_table_unref(*table);
    *table = next;
    return LEGO_OK;
}

static void replace(struct connection *connection, struct region_table *table)
{
    region_table_unref(connection->regions);
    connection->regions = table;
}

static int do_register(struct connection *connection, const Legonet__RegionRegisterRequest *request,
                       struct lego_diag *diag)
{
    struct region_table *table = region_table_ref(connection->regions);
    int status = LEGO_OK;
    for (size_t i = 0; i < request->n_regions; i++) {
        int fd = descriptors_take(&connection->descriptors);
        if (fd < 0 && status == LEGO_OK)
            status = lego_fail(diag, LEGO_E_INVALID,
                               "%zu regions are to be registered, but %zu file descriptors came",
                               request->n_regions, i);
        if (fd < 0)
            break;
        if (status == LEGO_OK)
            status = add_region(connection, &table, request->regions[i], fd, diag);
        else
            close(fd);
    }
    if (status != LEGO_OK) {
        region_table_unref(table);
        return status;
    }
    replace(connection, table);
    return LEGO_OK;
}

static int do_unregister(struct connection *connection,
                         const Legonet__RegionUnregisterRequest *request, struct lego_diag *diag)
{
    struct region_table *table = NULL;
    if (request->n_names > 0)
        table = region_table_ref(connection->regions);
    for (size_t i = 0; i < request->n_names; i++) {
        struct region_table *next;
        int status = LEGO_OK;
        if (!region_table_find(table, request->names[i]))
            status = lego_fail(diag, LEGO_E_NOT_FOUND, "no region \"%.128s\" is registered",
                               request->names[i]);
        else if (region_table_without(table, request->names[i], &next) != LEGO_OK)
            status = no_memory(diag);
        if (status != LEGO_OK) {
            region_table_unref(table);
            return status;
        }
        region_table_unref(table);
        table = next;
    }
    replace(connection, table);
    return LEGO_OK;
}

static int show(const struct connection *connection, uint64_t id, uint8_t **ret_frame,
                size_t *ret_bytes, struct lego_diag *diag)
{
    static char memfd[] = "memfd", dma_buf[] = "dma-buf";
    const struct region_table *table = connection->regions;
    size_t count = table ? table->count : 0;
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    Legonet__RegionStatusResponse result = LEGONET__REGION_STATUS_RESPONSE__INIT;
    region_shown *shown = calloc(count + 1, sizeof(*shown));
    region_shown **list = calloc(count + 1, sizeof(*list));
    int status = shown && list ? LEGO_OK : no_memory(diag);
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        const struct region *region = table->items[i];
        legonet__region_status_response__region__init(&shown[i]);
        shown[i].name = (char *)(uintptr_t)region_name(region);
        shown[i].byte_size = region_bytes(region);
        shown[i].writable = region_is_writable(region);
        shown[i].kind = region_kind(region) == REGION_MEMFD ? memfd : dma_buf;
        list[i] = &shown[i];
    }
    result.n_regions = count;
    result.regions = list;
    response.id = id;
    response.result_case = LEGONET__RESPONSE__RESULT_REGION_STATUS;
    response.region_status = &result;
    if (status == LEGO_OK)
        status = ipc_frame_pack(&response.base, connection->host->max_frame_bytes, ret_frame,
                                ret_bytes, diag);
    free(shown);
    free(list);
    return status;
}

static int confirm(const Legonet__Request *request, uint8_t **ret_frame, size_t *ret_bytes,
                   struct lego_diag *diag)
{
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    Legonet__RegionRegisterResponse registered = LEGONET__REGION_REGISTER_RESPONSE__INIT;
    Legonet__RegionUnregisterResponse unregistered = LEGONET__REGION_UNREGISTER_RESPONSE__INIT;
    response.id = request->id;
    if (request->call_case == LEGONET__REQUEST__CALL_REGION_REGISTER) {
        response.result_case = LEGONET__RESPONSE__RESULT_REGION_REGISTER;
        response.region_register = &registered;
    } else {
        response.result_case = LEGONET__RESPONSE__RESULT_REGION_UNREGISTER;
        response.region_unregister = &unregistered;
    }
    return ipc_frame_pack(&response.base, IPC_FRAME_MAX_BYTES, ret_frame, ret_bytes, diag);
}

int region_call(struct connection *connection, const Legonet__Request *request,
                struct lego_diag *diag)
{
    uint8_t *frame = NULL;
    size_t bytes = 0;
    int status = LEGO_OK;
    if (request->call_case == LEGONET__REQUEST__CALL_REGION_REGISTER)
        status = do_register(connection, request->region_register, diag);
    else if (request->call_case == LEGONET__REQUEST__CALL_REGION_UNREGISTER)
        status = do_unregister(connection, request->region_unregister, diag);
    if (status != LEGO_OK)
        return status;
    if (request->call_case == LEGONET__REQUEST__CALL_REGION_STATUS)
        status = show(connection, request->id, &frame, &bytes, diag);
    else
        status = confirm(request, &frame, &bytes, diag);
    if (status == LEGO_OK)
        connection_send(connection, frame, bytes);
    return status;
}
