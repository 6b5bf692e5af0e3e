/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Levenshtein's distance, with one row of his matrix.
 */
#include "distance.h"

#include <string.h>

enum { LONGEST = 64 };

size_t vst_distance(const char *a, const char *b, size_t most)
{
    size_t row[LONGEST + 1], a_length = strlen(a), b_length = strlen(b);
    size_t apart = a_length > b_length ? a_length - b_length : b_length - a_length;

    if (a_length > LONGEST || b_length > LONGEST || apart > most)
        return most + 1;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t insert = row[j - 1] + 1;
            size_t erase = row[j] + 1;

            diagonal = row[j];
            row[j] = change < insert ? change : insert;
            row[j] = row[j] < erase ? row[j] : erase;
        }
    }
    return row[b_length] <= most ? row[b_length] : most + 1;
}
