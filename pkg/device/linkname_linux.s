/* The compiler takes a function without a body (customCall) only in a package with an assembly file. */
.section .note.GNU-stack,"",%progbits
