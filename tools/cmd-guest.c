/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * start, suspend, resume, shutdown, destroy: what moves no bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tool.h"

enum {
    DEFINITION_MAX = 1024 * 1024, /* the library takes no larger one */
    SHUTDOWN_SECONDS = 60,
};

/* Reads until the end, or until there is one byte too many. */
static int read_all(struct tool *tool, int fd, const char *path, char *into, size_t *ret_length)
{
    size_t length = 0;
    ssize_t n;

    while (length <= DEFINITION_MAX) {
        n = read(fd, into + length, DEFINITION_MAX + 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tool_fail_system(tool, errno, path);
        if (n == 0) {
            *ret_length = length;
            return 0;
        }
        length += (size_t)n;
    }
    return tool_fail(tool, VST_ERR_INVALID, "%s: is longer than %d bytes", path, DEFINITION_MAX);
}

/* The file's text; the caller's to free(). NULL when it cannot be read, or cannot be one. */
static char *read_definition(struct tool *tool, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *name = standard ? "standard input" : path;
    char *text = NULL;
    size_t length = 0;

    if (fd < 0) {
        tool_fail_system(tool, errno, path);
        return NULL;
    }
    text = malloc(DEFINITION_MAX + 2);
    if (!text) {
        tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    } else if (read_all(tool, fd, name, text, &length) < 0) {
        free(text);
        text = NULL;
    } else {
        text[length] = '\0';
        if (strlen(text) != length) {
            tool_fail(tool, VST_ERR_INVALID, "%s: is not text: it has zero bytes", name);
            free(text);
            text = NULL;
        }
    }
    if (!standard)
        close(fd);
    return text;
}

static int print_domain(struct tool *tool, const char *what)
{
    struct json_object *json;

    if (!tool->opt.json) {
        output_done(tool, "%s %s", vst_domain_get_name(tool->domain), what);
        return 0;
    }
    json = json_object_new_object();
    put_text(json, "name", vst_domain_get_name(tool->domain));
    put_text(json, "uuid", vst_domain_get_uuid(tool->domain));
    return output_json(tool, "domain", json);
}

int command_start(struct tool *tool)
{
    struct vst_start_options opt = {.paused = tool->opt.paused};
    struct vst_domain_cb cb = tool_domain_cb(tool);
    char *definition = read_definition(tool, tool->args[0]);
    int status = -1;

    if (definition && tool_connect(tool) == 0)
        status = tool_wait(tool, vst_domain_start(tool->conn, definition, &opt, &cb));
    free(definition);
    return status == 0 ? print_domain(tool, opt.paused ? "is ready, paused" : "runs") : -1;
}

static int control(struct tool *tool,
                   struct vst_op *(*method)(struct vst_domain *, const struct vst_done *),
                   const char *what)
{
    if (tool_find_domain(tool) < 0 || tool_wait(tool, method(tool->domain, NULL)) < 0)
        return -1;
    return print_domain(tool, what);
}

int command_suspend(struct tool *tool)
{
    return control(tool, vst_domain_suspend, "is paused");
}

int command_resume(struct tool *tool)
{
    return control(tool, vst_domain_resume, "runs");
}

int command_shutdown(struct tool *tool)
{
    if (!tool->opt.timeout) {
        tool->opt.timeout = SHUTDOWN_SECONDS;
        tool->deadline.tv_sec += SHUTDOWN_SECONDS;
    }
    return control(tool, vst_domain_shutdown, "has shut down");
}

int command_destroy(struct tool *tool)
{
    return control(tool, vst_domain_destroy, "has ended");
}
