/* SPDX-License-Identifier: Apache-2.0 */
/* CMake wants one source in a library; the code comes from sluice_core. */
typedef int sluice_no_code_here;
