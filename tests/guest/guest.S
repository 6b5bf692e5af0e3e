/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest that the end-to-end tests save, restore and migrate: a multiboot kernel that counts on
 * COM1 and notices when its memory is not the memory it wrote. It is no operating system: one CPU,
 * one thread, no allocation; the timer interrupt only ends a `hlt`.
 *
 * RAM:     1 MiB  this image: code, tables, stack
 *          2 MiB  stamped pages, in groups of 64: both ends of a page hold a generation number
 *           ...   filled pages (mode F): xorshift64 seeded by the page number
 *           end   of the memory that the loader reports below 4 GiB
 *
 * A step takes the next group of stamped pages, checks that each carries the generation of one round
 * ago, and stamps the new one. README.md tells what the guest prints and understands.
 */

        .set    PAGE,           4096
        .set    WORK,           0x200000        /* guest.ld asserts that the image ends below */
        .set    GROUP_PAGES,    64
        .set    GROUP_SHIFT,    18              /* log2 (GROUP_PAGES * PAGE) */
        .set    GROUP,          1 << GROUP_SHIFT
        .set    CHECKED_PAGES,  64              /* filled pages checked for each line */
        .set    GOLDEN,         0x9e3779b97f4a7c15  /* odd, so no page number gives a zero seed */

        .set    FILL,           1               /* mode F: fill RAM, keep checking it */
        .set    RACE,           2               /* mode D: all pages are stamped, no waiting */
        .set    RACE_SHIFT,     10              /* log2 of the steps to a line in mode D */

        .set    CODE32,         0x08
        .set    DATA,           0x10
        .set    CODE64,         0x18

        .set    COM1,           0x3f8
        .set    COM1_STATUS,    COM1 + 5
        .set    RECEIVED,       0x01
        .set    CAN_SEND,       0x20
        .set    FIFO,           16

        .set    PM1_STATUS,     0x600           /* where SeaBIOS puts it, on pc and on q35 */
        .set    PM1_ENABLE,     0x602
        .set    PM1_CONTROL,    0x604
        .set    POWER_BUTTON,   0x0100
        .set    SOFT_OFF,       0x2000          /* SLP_EN; QEMU's sleep type of S5 is 0 */

        .set    APIC,           0xfee00000
        .set    APIC_SPURIOUS,  0xf0
        .set    APIC_LINT0,     0x350

        .set    MULTIBOOT,      0x1badb002
        .set    WANT_MEMORY,    2
        .set    INFO_UPPER,     8               /* KiB of RAM from 1 MiB to the first hole */
        .set    INFO_CMDLINE,   16

        .section .multiboot, "a"
        .balign 4
        .long   MULTIBOOT, WANT_MEMORY, -(MULTIBOOT + WANT_MEMORY)

/*
 * From 32-bit protected mode, as multiboot hands over, to long mode. %ebx is the loader's information
 * and stays untouched until memory_and_mode has read it.
 */
        .text
        .code32
        .global start, tick, fault          # guest.ld names them
start:
        mov     $stack_top, %esp
        mov     $page_map, %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $1 << 5, %eax                   # physical address extension
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx               # EFER
        rdmsr
        or      $1 << 8, %eax                   # long mode
        wrmsr
        mov     %cr0, %eax
        or      $1 << 31, %eax                  # paging
        mov     %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $CODE64, $main

/*
 * Registers that main keeps for life, so that a restore that loses CPU state is seen:
 *      %ebx    mode: FILL, RACE                %rbp    end of RAM
 *      %r8     next filled page to check       %r9     steps to a line, less one
 *      %r12    next page to stamp              %r13    steps to a round over all stamped pages
 *      %r14    end of the stamped pages, start of the filled ones
 *      %r15    generation = steps done; the RAM holds a second copy
 * All others belong to whoever is called.
 */
        .code64
main:
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        lidt    idt_pointer(%rip)
        call    set_up_devices
        call    memory_and_mode
        call    stamp_all
        call    fill_all
        mov     $WORK, %r12d
        mov     %r14, %r8
        xor     %r15d, %r15d
line:
        call    step
        test    %r9, %r15
        jnz     line
        call    check_some
        call    put_count
        call    read_console
        call    poll_power_button
        test    $RACE, %bl
        jnz     line
        sti                                     # takes effect after hlt: no tick is missed
        hlt
        cli
        jmp     line

set_up_devices:
        mov     $devices, %esi
1:      lodsw
        mov     %eax, %edx
        lodsw
        out     %al, (%dx)
        cmp     $devices_end, %esi
        jb      1b
        mov     $PM1_ENABLE, %dx
        mov     $POWER_BUTTON, %ax              # QEMU sets the status bit only if this is set
        out     %ax, (%dx)
        mov     $APIC, %eax                     # lets the PIC through; qboot (microvm) does not
        movl    $0x1ff, APIC_SPURIOUS(%rax)     # on
        movl    $0x700, APIC_LINT0(%rax)        # external interrupt
        ret

/* The last `mode=` counts: QEMU puts the path of the kernel in front of its -append. */
memory_and_mode:
        mov     INFO_UPPER(%rbx), %ebp
        add     $1024, %rbp
        shl     $10, %rbp
        and     $-PAGE, %rbp
        mov     $no_memory, %esi
        cmp     $WORK + GROUP + PAGE, %rbp
        jb      give_up

        mov     INFO_CMDLINE(%rbx), %edi
        mov     $'P', %al
1:      cmpl    $0x65646f6d, (%rdi)             # "mode"
        jne     2f
        cmpb    $'=', 4(%rdi)
        jne     2f
        mov     5(%rdi), %al
2:      inc     %rdi
        cmpb    $0, -1(%rdi)
        jne     1b

        xor     %ebx, %ebx
        xor     %r9d, %r9d
        mov     $1, %r13d
        cmp     $'P', %al
        je      3f
        mov     $FILL, %bl
        cmp     $'F', %al
        je      3f
        mov     $no_mode, %esi
        cmp     $'D', %al
        jne     give_up
        mov     $RACE, %bl
        mov     $(1 << RACE_SHIFT) - 1, %r9d
        lea     -WORK(%rbp), %r13
        shr     $GROUP_SHIFT, %r13
3:      mov     %r13, %r14
        shl     $GROUP_SHIFT, %r14
        add     $WORK, %r14
        ret

/* Step g + 1 is the first to meet group g; it expects g + 1 - round there. */
stamp_all:
        mov     $1, %eax
        sub     %r13, %rax
        mov     $WORK, %edi
1:      mov     %rax, (%rdi)
        mov     %rax, PAGE - 8(%rdi)
        add     $PAGE, %rdi
        test    $GROUP - 1, %edi
        jnz     1b
        inc     %rax
        cmp     %r14, %rdi
        jb      1b
        ret

step:
        mov     $generation, %edi
        cmp     %r15, (%rdi)
        jne     damaged
        inc     %r15
        mov     %r15, (%rdi)
        mov     %r15, %rax
        sub     %r13, %rax
        mov     %r12, %rdi
        mov     $GROUP_PAGES, %ecx
1:      cmp     %rax, (%rdi)
        jne     damaged
        cmp     %rax, PAGE - 8(%rdi)
        jne     damaged
        mov     %r15, (%rdi)
        mov     %r15, PAGE - 8(%rdi)
        add     $PAGE, %rdi
        dec     %ecx
        jnz     1b
        mov     %rdi, %r12
        cmp     %r14, %r12
        jb      2f
        mov     $WORK, %r12d
2:      ret

/* The words of the filled page at %rdi, one after the other, in %rax. */
        .macro  seed
        mov     %rdi, %rax
        shr     $12, %rax
        mov     $GOLDEN, %rcx
        imul    %rcx, %rax
        .endm

        .macro  xorshift
        mov     %rax, %rdx
        shl     $13, %rdx
        xor     %rdx, %rax
        mov     %rax, %rdx
        shr     $7, %rdx
        xor     %rdx, %rax
        mov     %rax, %rdx
        shl     $17, %rdx
        xor     %rdx, %rax
        .endm

fill_all:
        test    $FILL, %bl
        jz      3f
        mov     %r14, %rdi
1:      seed
2:      .irp    word, 0, 8, 16, 24, 32, 40, 48, 56
        xorshift
        mov     %rax, \word(%rdi)
        .endr
        add     $64, %rdi
        test    $PAGE - 1, %edi
        jnz     2b
        cmp     %rbp, %rdi
        jb      1b
3:      ret

/* Goes on from the page where the last check ended, so that every page has its turn. */
check_some:
        mov     $CHECKED_PAGES, %r10d
        jmp     check
check_all:
        mov     %rbp, %r10
        sub     %r14, %r10
        shr     $12, %r10
check:
        test    $FILL, %bl
        jz      4f
1:      mov     %r8, %rdi
        seed
2:      xor     %esi, %esi                      # collects every bit that differs
        .irp    word, 0, 8, 16, 24, 32, 40, 48, 56
        xorshift
        mov     \word(%rdi), %rdx
        xor     %rax, %rdx
        or      %rdx, %rsi
        .endr
        jnz     damaged
        add     $64, %rdi
        test    $PAGE - 1, %edi
        jnz     2b
        mov     %rdi, %r8
        cmp     %rbp, %r8
        jb      3f
        mov     %r14, %r8
3:      dec     %r10
        jnz     1b
4:      ret

/* Answers `< XX` to each byte received, at most a FIFO of them, so that input cannot stop the count. */
read_console:
        mov     $FIFO, %r11d
1:      mov     $COM1_STATUS, %dx
        in      (%dx), %al
        test    $RECEIVED, %al
        jz      3f
        mov     $COM1, %dx
        in      (%dx), %al
        push    %rax
        cmp     $'v', %al
        jne     2f
        call    check_all
2:      mov     $received, %esi
        call    put_string
        mov     (%rsp), %al
        shl     $24, %eax
        mov     $2, %ecx
        call    put_hex_line
        pop     %rax
        cmp     $'q', %al
        je      power_off
        dec     %r11d
        jnz     1b
3:      ret

/* All ones is a port where nobody is: a machine without this power management. */
poll_power_button:
        mov     $PM1_STATUS, %dx
        in      (%dx), %ax
        cmp     $0xffff, %ax
        je      1f
        test    $POWER_BUTTON, %ax
        jnz     power_off
1:      ret

power_off:
        mov     $shutdown, %esi
        call    put_string
        mov     $PM1_CONTROL, %dx
        mov     $SOFT_OFF, %ax
        out     %ax, (%dx)
        jmp     halt

put_count:
        mov     %r15, %rax
        test    $RACE, %bl
        jz      1f
        shr     $RACE_SHIFT, %rax
1:      mov     $8, %ecx

/* The %ecx highest hexadecimal digits of %eax, and the end of the line. */
put_hex_line:
        rol     $4, %eax
        push    %rax
        and     $15, %eax
        mov     digits(%eax), %al
        call    put_byte
        pop     %rax
        dec     %ecx
        jnz     put_hex_line
        mov     $'\n', %al

put_byte:
        mov     %al, %ah
        mov     $COM1_STATUS, %dx
1:      in      (%dx), %al
        test    $CAN_SEND, %al
        jz      1b
        mov     %ah, %al
        mov     $COM1, %dx
        out     %al, (%dx)
        ret

put_string:
        lodsb
        test    %al, %al
        jz      1f
        call    put_byte
        jmp     put_string
1:      ret

/* %rdi is where memory is wrong. */
damaged:
        mov     $'!', %al
        call    put_byte
        mov     %edi, %eax
        mov     $8, %ecx
        call    put_hex_line
halt:
        cli
        hlt
        jmp     halt

fault:
        mov     $exception, %esi
give_up:
        call    put_string
        jmp     halt

tick:
        iretq                                   # the controller acknowledges by itself

        .data
digits:         .ascii  "0123456789abcdef"
received:       .asciz  "< "
shutdown:       .asciz  "shutdown\n"
exception:      .asciz  "!exception\n"
no_memory:      .asciz  "!memory\n"
no_mode:        .asciz  "!mode\n"

        .macro  device port:req, values:vararg
        .irp    value, \values
        .short  \port, \value
        .endr
        .endm
        .balign 2
devices:
        device  0x20, 0x11                      # master PIC: edges, cascade, fourth word follows
        device  0x21, 0x20, 0x04, 0x03          # vector 0x20, slave on 2, 8086 with automatic EOI
        device  0x21, 0xfe                      # the timer only
        device  0xa1, 0xff
        device  0x43, 0x34                      # PIT channel 0: both bytes, rate generator
        device  0x40, 0x9c, 0x2e                # 1193182 Hz / 11932 = 100 Hz
        device  COM1 + 3, 0x80                  # divisor of the baud rate: 1, 115200
        device  COM1 + 0, 1
        device  COM1 + 1, 0
        device  COM1 + 3, 0x03                  # 8 bits, no parity, 1 stop
        device  COM1 + 2, 0x07                  # FIFOs on and empty
        device  COM1 + 4, 0x03                  # DTR, RTS
        device  COM1 + 1, 0                     # no interrupts: polled
devices_end:

        .balign 8
generation:     .quad   0

gdt:            .quad   0
                .quad   0x00cf9a000000ffff      # CODE32
                .quad   0x00cf92000000ffff      # DATA
                .quad   0x00af9a000000ffff      # CODE64
gdt_pointer:    .short  gdt_pointer - gdt - 1
                .long   gdt

/* Interrupt gates. guest.ld splits the addresses, which the linker cannot do in a relocation. */
        .macro  gate target:req, count:req
        .rept   \count
        .short  \target\()_low, CODE64, 0x8e00, \target\()_high
        .quad   0
        .endr
        .endm
        .balign 16
idt:
        gate    fault, 32
        gate    tick, 8
idt_pointer:    .short  idt_pointer - idt - 1
                .long   idt, 0

/* Addresses as they are, 4 GiB in pages of 2 MiB. 3: present, writable; 0x83: and large. */
        .balign PAGE
page_map:
        .long   directory_pointers + 3, 0
        .balign PAGE
directory_pointers:
        .irp    quarter, 0, 1, 2, 3
        .long   directories + \quarter * PAGE + 3, 0
        .endr
        .balign PAGE
directories:
        .set    address, 0
        .rept   4 * 512
        .quad   address | 0x83
        .set    address, address + 0x200000
        .endr

        .bss
        .balign 16
        .skip   PAGE
stack_top:
