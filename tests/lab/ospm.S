# SPDX-FileCopyrightText: 2026 the kvm.hotplug authors
# SPDX-License-Identifier: GPL-3.0-or-later

# A guest that is nothing but the operating system's side (OSPM) of QEMU's ACPI CPU hotplug registers, as QEMU's
# docs/specs/acpi_cpu_hotplug describes them, on machines q35 and pc. It halts until an interrupt comes: an event of
# ACPI (SCI), a byte on the serial port, or the end of a wait. ospm.hex holds it assembled; ospm_image.py assembles it.
#
# It runs in 32-bit protected mode, and starts in two ways: as the firmware (-bios), which takes milliseconds, or after
# SeaBIOS as a multiboot kernel (-kernel).
#
# What it does on an event is a text of steps, kept for each vCPU and for plug and unplug; so is what it does at boot,
# which stands in the image. Numbers are decimal, steps are separated by spaces:
#
#   oN  write _OST with status N (of event 1 for a plug, 3 for an unplug)      e   eject the vCPU
#   wN  wait N milliseconds                                                   h   hold until the command g
#   r   run code on the vCPU (INIT, SIPI) until it has executed               x   reset       z   power off
#   a   leave the legacy register interface: QEMU accepts device_del then     s   look for events once
#   l   listen: clear GPE0_STS, set GPE0_EN as Linux does                     d   stop listening: clear GPE0_EN
#
# Commands are lines on the serial port, answered with "ok", "busy" or "error", or by what they ask for:
#
#   p CPU TIMES STEPS   answer the plug of this vCPU (or of all: *) with these steps, TIMES times (0: always)
#   u CPU TIMES STEPS   the same for its unplug
#   ! CPU STEPS         carry these steps out now
#   g                   go on after a hold
#   x, z                reset, power off, whatever is being done
#   ?                   "state MACHINE idle" or busy, hold
#
# Facts are lines on the serial port: "boot q35", "ready" (the steps of the boot are done), "plug 3", "unplug 3",
# "ost 3 EVENT STATUS", "eject 3", "hold 3", "ran 3" or "stuck 3" (of step r), "end plug 3", "end unplug 3", "done 3" (of
# command !), "acpi", "listening", "ignoring", "button" (it then powers off), "fault".

        .intel_syntax noprefix
        .code32

        .set    LOAD, 0x100000          # where it is loaded and linked
        .set    STACK, 0x90000
        .set    TRAMPOLINE, 0x8000      # a page below 1 MiB, where a vCPU starts after SIPI
        .set    TRAMPOLINE_SIZE, 32
        .set    RAN, 0x9000             # a byte for each APIC id: it has executed code
        .set    ANSWERS, 0x200000       # of plugs, and then of unplugs
        .set    CPUS, 512
        .set    ENTRY, 64               # how often it is valid (4 bytes) and its steps
        .set    TEXT, ENTRY - 4
        .set    LINE, 128

        # The registers of a vCPU's hotplug, from their base
        .set    SELECTOR, 0
        .set    FLAGS, 4
        .set    COMMAND, 5
        .set    DATA, 8
        .set    INSERTING, 2            # bits of FLAGS
        .set    REMOVING, 4
        .set    EJECT, 8
        .set    NEXT_EVENT, 0           # values of COMMAND
        .set    OST_EVENT, 1
        .set    OST_STATUS, 2
        .set    ARCH_ID, 3

        .set    PM1_STS, 0x600          # ACPI's registers, where SeaBIOS puts them too
        .set    PM1_EN, 0x602
        .set    PM1_CNT, 0x604
        .set    POWER_BUTTON, 0x100
        .set    POWER_OFF, 0x2000
        .set    GPE_CPU, 4              # the event of CPU hotplug
        .set    GPE_LINUX, 6            # what Linux enables: PCI and CPU hotplug
        .set    APIC_SPURIOUS, 0xfee000f0
        .set    APIC_LINT0, 0xfee00350
        .set    ICR_LOW, 0xfee00300
        .set    ICR_HIGH, 0xfee00310

        .set    PCI_ADDRESS, 0xcf8
        .set    PCI_DATA, 0xcfc
        .set    LPC, 0x8000f800         # q35's 00:1f.0 and pc's 00:01.3, which have ACPI's registers
        .set    PIIX4_PM, 0x80000b00
        .set    COM1, 0x3f8
        .set    PIT_MS, 1193            # its counts in a millisecond
        .set    CHUNK, 50               # the milliseconds that fit into its 16 bits

        .set    CODE, 0x08              # segments
        .set    DATA_SEGMENT, 0x10

        .set    IDLE, 0                 # states
        .set    BUSY, 1
        .set    WAITING, 2
        .set    HOLDING, 3
        .set    STARTING, 4             # waiting for a vCPU to execute code

        .text
        .global header
header:
        .set    MULTIBOOT, 0x1badb002
        .set    ADDRESSES, 0x10000      # the header names the addresses, so that a flat file will do
        .long   MULTIBOOT, ADDRESSES, -(MULTIBOOT + ADDRESSES)
        .long   header, header, end, 0, start
boot_steps:                             # at offset 32: ospm_image.py writes them
        .space  ENTRY

start:
        cli
        cld
        mov     esp, STACK
        lgdt    [gdt_pointer]
        jmp     CODE:1f
1:      mov     ax, DATA_SEGMENT
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        call    detect_machine
        call    initialize
        call    set_up_interrupts
        call    set_up_serial
        mov     esi, offset boot_text
        call    print
        mov     esi, [machine]
        call    print_line
        mov     byte ptr [booting], 1
        mov     esi, offset boot_steps
        xor     eax, eax
        call    begin
main:
        call    read_serial
        call    work
        jc      main
        sti                             # takes effect after hlt has begun: no interrupt gets lost between
1:      hlt
        jmp     1b

# Set up ------------------------------------------------------------------------------------------------------------

detect_machine:                         # by PCI's host bridge
        mov     ecx, 0x80000000
        call    read_pci
        cmp     eax, 0x29c08086
        je      1f
        mov     word ptr [base], 0xaf00
        mov     word ptr [gpe_sts], 0xafe0
        mov     word ptr [gpe_en], 0xafe2
        mov     dword ptr [machine], offset pc_text
1:      ret

read_pci:                               # register ECX to EAX
        mov     dx, PCI_ADDRESS
        mov     eax, ecx
        out     dx, eax
        mov     dx, PCI_DATA
        in      eax, dx
        ret

initialize:                                 # what memory may still hold from before a reset
        mov     edi, RAN
        mov     ecx, 256
        xor     eax, eax
        rep     stosb
        mov     edi, ANSWERS
        mov     esi, offset plug_steps
        mov     ecx, CPUS
        call    set_answers
        mov     esi, offset unplug_steps
        mov     ecx, CPUS
        call    set_answers
        mov     esi, offset trampoline
        mov     edi, TRAMPOLINE
        mov     ecx, TRAMPOLINE_SIZE
        rep     movsb
        ret

set_answers:                            # ECX entries from EDI, to steps ESI for ever; leaves EDI behind them
        mov     dword ptr [edi], 0
        push    esi
        push    edi
        add     edi, 4
        call    copy_steps
        pop     edi
        pop     esi
        add     edi, ENTRY
        loop    set_answers
        ret

copy_steps:                             # text ESI to EDI, as much as fits
        push    ecx
        mov     ecx, TEXT - 1
1:      lodsb
        stosb
        test    al, al
        jz      2f
        loop    1b
        mov     byte ptr [edi], 0
2:      pop     ecx
        ret

set_up_interrupts:
        mov     edi, offset idt
        mov     ecx, 32
        mov     eax, offset fault
        call    set_gates
        mov     ecx, 16
        mov     eax, offset resume
        call    set_gates
        mov     edi, offset idt + 8 * 0x20
        mov     eax, offset on_timer
        call    set_gate
        mov     edi, offset idt + 8 * 0x24
        mov     eax, offset end_of_interrupt
        call    set_gate
        mov     edi, offset idt + 8 * 0x29
        mov     eax, offset on_sci
        call    set_gate
        lidt    [idt_pointer]
        mov     esi, offset pic_writes
1:      lodsw
        test    ax, ax
        jz      2f
        movzx   edx, al
        mov     al, ah
        out     dx, al
        jmp     1b
2:      mov     ecx, CHUNK              # one shot, instead of the firmware's periodic ticks
        jmp     arm

set_gates:                              # ECX gates from EDI, to handler EAX
        call    set_gate
        loop    set_gates
        ret

set_gate:
        mov     [edi], ax
        mov     word ptr [edi + 2], CODE
        mov     word ptr [edi + 4], 0x8e00
        push    eax
        shr     eax, 16
        mov     [edi + 6], ax
        pop     eax
        add     edi, 8
        ret

set_up_serial:                          # without its FIFO, whose switching on would drop what has been received
        mov     dx, COM1 + 3
        mov     al, 3
        out     dx, al
        mov     dx, COM1 + 4
        mov     al, 0x0b
        out     dx, al
        mov     dx, COM1 + 1
        mov     al, 1
        out     dx, al
        ret

begin:                                  # begin with steps ESI as the answer to event EAX
        mov     [event], eax
        mov     edi, offset steps
        mov     dword ptr [cursor], edi
        call    copy_steps
        mov     byte ptr [state], BUSY
        ret

set_up_machine:                         # as far as a firmware has to
        mov     dword ptr ds:[APIC_SPURIOUS], 0x1ff
        mov     dword ptr ds:[APIC_LINT0], 0x700
        mov     ecx, 0x80000000
        call    read_pci
        mov     ecx, LPC + 0x40
        mov     ebx, LPC + 0x44
        mov     esi, 0x80
        cmp     eax, 0x29c08086
        je      1f
        mov     ecx, PIIX4_PM + 0x40
        mov     ebx, PIIX4_PM + 0x80
        mov     esi, 1
1:      call    read_pci                # select the register
        mov     eax, PM1_STS + 1
        out     dx, eax
        mov     ecx, ebx
        call    read_pci
        or      eax, esi
        out     dx, eax
        ret

# Interrupts --------------------------------------------------------------------------------------------------------

# They come during main's hlt only, so that the handlers need not return: they go on at main. A KVM that emulates a
# guest's instructions knows iret in real mode only.

on_timer:
        mov     eax, [chunk]
        sub     [left], eax
        ja      1f
        mov     dword ptr [left], 0
        jmp     end_of_interrupt
1:      call    arm_left
        jmp     end_of_interrupt

on_sci:
        mov     dx, [gpe_sts]
        in      al, dx
        out     dx, al
        test    al, GPE_CPU
        jz      1f
        mov     byte ptr [look], 1
1:      mov     dx, PM1_STS
        in      ax, dx
        out     dx, ax
        test    ax, POWER_BUTTON
        jz      2f
        mov     byte ptr [button], 1
2:      mov     al, 0x20
        out     0xa0, al
end_of_interrupt:
        mov     al, 0x20
        out     0x20, al
resume:
        mov     esp, STACK
        jmp     main

fault:
        mov     esi, offset fault_text
        call    print_line
        hlt

wait_ms:                                # let ECX milliseconds pass
        mov     [left], ecx
        jecxz   1f
arm_left:                               # the timer, for what is left, at most CHUNK
        mov     ecx, [left]
        cmp     byte ptr [state], STARTING
        jne     2f
        mov     ecx, 1
2:      cmp     ecx, CHUNK
        jbe     arm
        mov     ecx, CHUNK
arm:    mov     [chunk], ecx
        imul    ecx, ecx, PIT_MS
        mov     al, 0x30
        out     0x43, al
        mov     al, cl
        out     0x40, al
        mov     al, ch
        out     0x40, al
1:      ret

# Work: answer one event after the other, as Linux does ----------------------------------------------------------------

work:                                   # advance by one step; carry says that there is more to do
        cmp     byte ptr [button], 0
        jne     press
        mov     al, [state]
        cmp     al, IDLE
        je      next_event
        cmp     al, BUSY
        je      next_step
        cmp     al, WAITING
        je      1f
        cmp     al, STARTING
        je      started
        clc
        ret
1:      cmp     dword ptr [left], 0
        je      go_on
        clc
        ret
go_on:  mov     byte ptr [state], BUSY
        stc
        ret
press:
        mov     esi, offset button_text
        call    print_line
        jmp     power_off

next_event:
        cmp     byte ptr [look], 0
        jne     1f
        clc
        ret
1:      xor     ebx, ebx
        call    select
        mov     al, NEXT_EVENT
        call    command
        call    read_data
        mov     [cpu], eax
        mov     dx, [base]
        add     dx, FLAGS
        in      al, dx
        mov     ecx, ANSWERS
        mov     ebx, 1
        mov     esi, offset plug_text
        test    al, INSERTING
        jnz     2f
        mov     ecx, ANSWERS + CPUS * ENTRY
        mov     ebx, 3
        mov     esi, offset unplug_text
        test    al, REMOVING
        jnz     3f
        mov     byte ptr [look], 0
        clc
        ret
2:      mov     al, INSERTING
        jmp     4f
3:      mov     al, REMOVING
4:      out     dx, al                  # the event is taken
        call    print_cpu
        mov     eax, [cpu]
        cmp     eax, CPUS
        jae     fault
        shl     eax, 6
        lea     edi, [ecx + eax]        # its answer
        push    edi
        lea     esi, [edi + 4]
        mov     eax, ebx
        call    begin
        pop     edi
        cmp     dword ptr [edi], 0
        je      5f
        dec     dword ptr [edi]
        jnz     5f
        mov     esi, offset plug_steps  # that was the last time
        cmp     ebx, 1
        je      6f
        mov     esi, offset unplug_steps
6:      mov     ecx, 1
        call    set_answers
5:      stc
        ret

next_step:
        mov     esi, [cursor]
1:      lodsb
        cmp     al, ' '
        je      1b
        test    al, al
        jz      finish
        mov     ebx, offset step_table
2:      cmp     byte ptr [ebx], 0
        je      3f
        cmp     [ebx], al
        je      4f
        add     ebx, 5
        jmp     2b
3:      mov     esi, offset error_text
        call    print_line
        jmp     finish
4:      call    number                  # what follows the letter
        mov     [cursor], esi
        mov     ecx, eax
        call    dword ptr [ebx + 1]
        stc
        ret

finish:
        mov     byte ptr [state], IDLE
        mov     esi, offset ready_text
        cmp     byte ptr [booting], 0
        mov     byte ptr [booting], 0
        jne     1f
        mov     esi, offset done_text
        cmp     dword ptr [event], 0
        je      2f
        mov     esi, offset end_text
        call    print
        mov     esi, offset plug_text
        cmp     dword ptr [event], 1
        je      2f
        mov     esi, offset unplug_text
2:      call    print_cpu
        stc
        ret
1:      call    print_line
        stc
        ret

# Steps: ECX is their number -------------------------------------------------------------------------------------------

step_wait:
        mov     byte ptr [state], WAITING
        jmp     wait_ms

step_hold:
        mov     byte ptr [state], HOLDING
        mov     esi, offset hold_text
        jmp     print_cpu

step_ost:
        mov     ebx, [cpu]
        call    select
        mov     al, OST_EVENT
        call    command
        mov     eax, [event]
        call    write_data
        mov     al, OST_STATUS
        call    command
        mov     eax, ecx
        call    write_data
        mov     esi, offset ost_text
        call    print
        mov     eax, [cpu]
        call    print_number
        mov     al, ' '
        call    put
        mov     eax, [event]
        call    print_number
        mov     al, ' '
        call    put
        mov     eax, ecx
        call    print_number
        jmp     end_line

step_eject:
        mov     ebx, [cpu]
        call    select
        mov     dx, [base]
        add     dx, FLAGS
        mov     al, EJECT
        out     dx, al
        mov     esi, offset eject_text
        jmp     print_cpu

step_acpi:                              # a 0 in the first byte of the legacy interface's bitmap
        mov     dx, [base]
        xor     al, al
        out     dx, al
        mov     esi, offset acpi_text
        jmp     print_line

step_listen:
        mov     dx, [gpe_sts]
        mov     al, 0xff
        out     dx, al
        mov     dx, [gpe_en]
        mov     al, GPE_LINUX
        out     dx, al
        mov     dx, PM1_STS
        mov     ax, 0xffff
        out     dx, ax
        mov     dx, PM1_EN
        mov     ax, POWER_BUTTON
        out     dx, ax
        mov     esi, offset listening_text
        jmp     print_line

step_ignore:
        mov     dx, [gpe_en]
        xor     al, al
        out     dx, al
        mov     esi, offset ignoring_text
        jmp     print_line

step_look:
        mov     byte ptr [look], 1
        ret

step_run:
        mov     ebx, [cpu]
        call    select
        mov     al, ARCH_ID
        call    command
        call    read_data
        cmp     eax, 255
        ja      stuck
        mov     [apic], eax
        mov     byte ptr [RAN + eax], 0
        shl     eax, 24
        mov     ds:[ICR_HIGH], eax
        mov     dword ptr ds:[ICR_LOW], 0x4500
        mov     ds:[ICR_HIGH], eax
        mov     dword ptr ds:[ICR_LOW], 0x4600 + TRAMPOLINE / 4096
        mov     byte ptr [state], STARTING
        mov     ecx, 2000
        jmp     wait_ms

started:                                # has it executed?
        mov     eax, [apic]
        mov     esi, offset ran_text
        cmp     byte ptr [RAN + eax], 0
        jne     1f
        cmp     dword ptr [left], 0
        je      stuck
        clc
        ret
stuck:
        mov     esi, offset stuck_text
1:      call    print_cpu
        jmp     go_on

step_reset:
        mov     dx, 0xcf9
        mov     al, 2
        out     dx, al
        mov     al, 6
        out     dx, al
        hlt

power_off:
        mov     dx, PM1_CNT
        mov     ax, POWER_OFF
        out     dx, ax
        cli
        hlt

        .macro  step letter, handler
        .byte   \letter
        .long   \handler
        .endm
step_table:
        step    'w', step_wait
        step    'h', step_hold
        step    'o', step_ost
        step    'e', step_eject
        step    'a', step_acpi
        step    'l', step_listen
        step    'd', step_ignore
        step    's', step_look
        step    'r', step_run
        step    'x', step_reset
        step    'z', power_off
        .byte   0

# The registers ------------------------------------------------------------------------------------------------------

select:                                 # vCPU EBX
        mov     dx, [base]
        mov     eax, ebx
        out     dx, eax
        ret

command:                                # AL
        mov     dx, [base]
        add     dx, COMMAND
        out     dx, al
        ret

read_data:                              # to EAX
        mov     dx, [base]
        add     dx, DATA
        in      eax, dx
        ret

write_data:                             # EAX
        mov     dx, [base]
        add     dx, DATA
        out     dx, eax
        ret

# Commands -----------------------------------------------------------------------------------------------------------

read_serial:                            # all there is; carry out each line that is complete
        mov     dx, COM1 + 5
        in      al, dx
        test    al, 1
        jz      2f
        mov     dx, COM1
        in      al, dx
        mov     ecx, [length]
        cmp     al, 10
        je      1f
        cmp     ecx, LINE - 1
        jae     read_serial
        mov     [line + ecx], al
        inc     dword ptr [length]
        jmp     read_serial
1:      mov     byte ptr [line + ecx], 0
        mov     dword ptr [length], 0
        jecxz   read_serial
        call    run_command
        jmp     read_serial
2:      ret

run_command:                                   # the line
        mov     esi, offset line
        lodsb
        mov     edi, ANSWERS
        cmp     al, 'p'
        je      set_answer
        mov     edi, ANSWERS + CPUS * ENTRY
        cmp     al, 'u'
        je      set_answer
        cmp     al, '!'
        je      carry_out
        cmp     al, '?'
        je      report_state
        cmp     al, 'x'
        je      step_reset
        cmp     al, 'z'
        je      power_off
        cmp     al, 'g'
        jne     refuse
        cmp     byte ptr [state], HOLDING
        jne     refuse
        mov     byte ptr [state], BUSY
accept:
        mov     esi, offset ok_text
        jmp     print_line
refuse:
        mov     esi, offset error_text
        jmp     print_line

set_answer:                             # of one entry, or of all behind EDI
        inc     esi
        mov     ecx, CPUS
        cmp     byte ptr [esi], '*'
        je      1f
        call    number
        cmp     eax, CPUS
        jae     refuse
        shl     eax, 6
        add     edi, eax
        mov     ecx, 1
        dec     esi
1:      add     esi, 2
        call    number
        mov     ebx, eax
        call    skip_space
2:      push    ecx
        push    edi
        mov     ecx, 1
        call    set_answers
        pop     edi
        pop     ecx
        mov     [edi], ebx
        add     edi, ENTRY
        loop    2b
        jmp     accept

carry_out:
        cmp     byte ptr [state], IDLE
        mov     edi, esi
        mov     esi, offset busy_text
        jne     print_line
        lea     esi, [edi + 1]
        call    number
        mov     [cpu], eax
        call    skip_space
        xor     eax, eax
        call    begin
        jmp     accept

skip_space:
        cmp     byte ptr [esi], ' '
        jne     1f
        inc     esi
1:      ret

report_state:
        mov     esi, offset state_text
        call    print
        mov     esi, [machine]
        call    print
        mov     al, ' '
        call    put
        mov     esi, offset idle_text
        cmp     byte ptr [state], IDLE
        je      print_line
        mov     esi, offset hold_word
        cmp     byte ptr [state], HOLDING
        je      print_line
        mov     esi, offset busy_text
        jmp     print_line

number:                                 # decimal at ESI to EAX; leaves ESI at what follows
        push    ecx
        push    edx
        xor     ecx, ecx
1:      movzx   eax, byte ptr [esi]
        sub     al, '0'
        cmp     al, 9
        ja      2f
        imul    ecx, ecx, 10
        add     ecx, eax
        inc     esi
        jmp     1b
2:      mov     eax, ecx
        pop     edx
        pop     ecx
        ret

# Print --------------------------------------------------------------------------------------------------------------

print_cpu:                              # text ESI, the vCPU and a new line
        push    eax
        call    print
        mov     eax, [cpu]
        call    print_number
        pop     eax
        jmp     end_line

print_line:
        call    print
end_line:
        push    eax
        mov     al, 10
        call    put
        pop     eax
        ret

print:                                  # text ESI
        push    eax
1:      lodsb
        test    al, al
        jz      2f
        call    put
        jmp     1b
2:      pop     eax
        ret

print_number:                           # EAX
        push    ecx
        push    edx
        mov     ecx, 10
        xor     edx, edx
        div     ecx
        test    eax, eax
        jz      1f
        call    print_number
1:      mov     eax, edx
        add     al, '0'
        call    put
        pop     edx
        pop     ecx
        ret

put:                                    # AL
        push    edx
        push    eax
        mov     dx, COM1 + 5
1:      in      al, dx
        test    al, 0x20
        jz      1b
        pop     eax
        mov     dx, COM1
        out     dx, al
        pop     edx
        ret

# What a started vCPU executes -----------------------------------------------------------------------------------------

        .code16
trampoline:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     eax, 1
        cpuid
        shr     ebx, 24
        mov     byte ptr [bx + RAN], 1
1:      hlt
        jmp     1b
        .org    trampoline + TRAMPOLINE_SIZE
        .code32

# Data ---------------------------------------------------------------------------------------------------------------

plug_steps:     .asciz "o0"             # unless commanded otherwise; Linux takes longer, too
unplug_steps:   .asciz "w20 o132 e o0"

boot_text:      .asciz "boot "
q35_text:       .asciz "q35"
pc_text:        .asciz "pc"
ready_text:     .asciz "ready"
plug_text:      .asciz "plug "
unplug_text:    .asciz "unplug "
ost_text:       .asciz "ost "
eject_text:     .asciz "eject "
hold_text:      .asciz "hold "
hold_word:      .asciz "hold"
ran_text:       .asciz "ran "
stuck_text:     .asciz "stuck "
done_text:      .asciz "done "
end_text:       .asciz "end "
acpi_text:      .asciz "acpi"
listening_text: .asciz "listening"
ignoring_text:      .asciz "ignoring"
button_text:    .asciz "button"
fault_text:     .asciz "fault"
state_text:     .asciz "state "
idle_text:      .asciz "idle"
ok_text:        .asciz "ok"
busy_text:      .asciz "busy"
error_text:     .asciz "error"
nothing:        .asciz ""

pic_writes:                             # ports and values: vectors from 0x20, IRQs 0, 4 and 9 (behind 2) open
        .byte   0x20, 0x11, 0xa0, 0x11, 0x21, 0x20, 0xa1, 0x28, 0x21, 0x04, 0xa1, 0x02
        .byte   0x21, 0x01, 0xa1, 0x01, 0x21, 0xea, 0xa1, 0xfd, 0, 0

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt
idt_pointer:
        .word   8 * 48 - 1
        .long   idt

        .balign 4
machine:        .long q35_text
base:           .word 0x0cd8
gpe_sts:        .word 0x0620
gpe_en:         .word 0x0628
state:          .byte 0
booting:        .byte 0
look:           .byte 0                 # events may wait
button:         .byte 0
        .balign 4
cpu:            .long 0
event:          .long 0
cursor:         .long 0
apic:           .long 0
left:           .long 0                 # milliseconds to wait
chunk:          .long 0
length:         .long 0
steps:          .space ENTRY
line:           .space LINE
idt:            .space 8 * 48
end:

# The firmware ---------------------------------------------------------------------------------------------------------

        .set    ROM, 0xf0000            # where its 64 KiB are seen below 1 MiB, as at 4 GiB where it starts
        .set    STUB, 0xff00

        .org    STUB
firmware:                               # 32-bit, in the ROM
        mov     ax, DATA_SEGMENT
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esi, ROM
        mov     edi, LOAD
        mov     ecx, offset end - LOAD
        cld
        rep     movsb
        mov     esp, STACK
        mov     eax, offset set_up_machine
        call    eax
        mov     eax, offset start
        jmp     eax

        .balign 4
rom_gdt_pointer:
        .word   23
        .long   ROM + gdt - header
        .code16
reset:
        cli
        data32  lgdt cs:[rom_gdt_pointer - header]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        .byte   0x66, 0xea              # far jump
        .long   ROM + firmware - header
        .word   CODE

        .org    0xfff0
        .byte   0xea                    # far jump
        .word   reset - header, ROM / 16
        .org    0x10000
