/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_fatbin and kernel_fatbin_bytes of table.h: the fat binary that nvcc
 * made, or nothing. KERNEL_FATBIN is its path, set by the build.
 */
    .section .rodata
    .balign 64
    .globl kernel_fatbin
    .hidden kernel_fatbin
    .type kernel_fatbin, %object
kernel_fatbin:
#ifdef KERNEL_FATBIN
    .incbin KERNEL_FATBIN
#endif
.Lend:
    .size kernel_fatbin, .Lend - kernel_fatbin
    .balign 8
    .globl kernel_fatbin_bytes
    .hidden kernel_fatbin_bytes
    .type kernel_fatbin_bytes, %object
    .size kernel_fatbin_bytes, 8
kernel_fatbin_bytes:
    .quad .Lend - kernel_fatbin

    .section .note.GNU-stack, "", %progbits
