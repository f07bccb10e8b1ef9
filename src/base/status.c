/* SPDX-License-Identifier: Apache-2.0 */
#include "sluice/sluice.h"

const char *sl_strerror(int code)
{
    switch (code) {
    case SL_OK:
        return "success";
#define STATUS_CASE(name, num, text)                                           \
    case -(num):                                                               \
        return text;
        SL_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "unknown code";
    }
}
