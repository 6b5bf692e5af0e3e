/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A question to the application: who is to log in where.
 */
#include "question.h"

#include <stdlib.h>
#include <string.h>

struct vst_question {
    void (*answered)(void *opaque, const char *password); /* NULL: nobody wants to know any more */
    void *opaque;
    char *user;
    char *uri;
};

static void question_free(struct vst_question *question)
{
    free(question->user);
    free(question->uri);
    free(question);
}

struct vst_question *vst_question_new(const struct vst_conn *conn, const char *user,
                                      void (*answered)(void *opaque, const char *password),
                                      void *opaque)
{
    struct vst_question *question = calloc(1, sizeof(*question));

    if (!question)
        return NULL;
    *question = (struct vst_question){answered, opaque, strdup(user), strdup(conn->uri->text)};
    if (question->user && question->uri)
        return question;
    question_free(question);
    return NULL;
}

void vst_question_forget(struct vst_question **question)
{
    if (*question)
        (*question)->answered = NULL;
    *question = NULL;
}

const char *vst_question_get_user(const struct vst_question *question)
{
    return question->user;
}

const char *vst_question_get_uri(const struct vst_question *question)
{
    return question->uri;
}

void vst_question_answer(struct vst_question **slot, const char *password)
{
    struct vst_question *question = *slot;

    *slot = NULL;
    if (!question)
        return;
    if (question->answered)
        question->answered(question->opaque, password);
    question_free(question);
}
