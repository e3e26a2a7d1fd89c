//! The kernel's filter of sockets by their ports.

use crate::kernel::socket::Side;

/// Kernel filter bytecode: accept where a port of `side` is one of `ports`.
///
/// For each alternative `LE p, GE p, JMP accept`, then one jump out of the program, which rejects.
/// Most ports of other sockets are ephemeral and so above `p`: LE turns them away at once.
/// `struct inet_diag_bc_op` is {code: u8, yes: u8, no: u16}, a port rides in the next op's `no`;
/// "equal" ops exist only since Linux 5.x, so both bounds are tested.
pub fn bytecode(ports: &[u16], side: Side) -> Vec<u8> {
    const JMP: u8 = 1;
    let (s_ge, s_le, d_ge, d_le) = (2, 3, 4, 5);
    const BLOCK: usize = 20;
    let bounds: &[(u8, u8)] = match side {
        Side::Server => &[(s_ge, s_le)],
        Side::Client => &[(d_ge, d_le)],
        Side::Both => &[(s_ge, s_le), (d_ge, d_le)],
    };
    let tests: Vec<_> = ports.iter().flat_map(|port| bounds.iter().map(move |bound| (*port, *bound))).collect();
    let mut code = Vec::with_capacity(tests.len() * BLOCK + 4);
    let mut op = |kind: u8, yes: u8, no: u16| {
        code.extend([kind, yes]);
        code.extend(no.to_ne_bytes());
    };
    for (index, (port, (at_least, at_most))) in tests.iter().enumerate() {
        let to_accept = (tests.len() - index - 1) * BLOCK + 4 + 4;
        op(*at_most, 8, 20);
        op(0, 0, *port);
        op(*at_least, 8, 12);
        op(0, 0, *port);
        op(JMP, 4, to_accept as u16);
    }
    op(JMP, 4, 8);
    code
}

/// Kernel filter bytecode: accept where no port of `side` is one of `ports`. Without the last step, which refuses what
/// none accepted, that is accepted, and what was accepted leads behind the end, which refuses.
pub fn bytecode_without(ports: &[u16], side: Side) -> Vec<u8> {
    let mut code = bytecode(ports, side);
    code.truncate(code.len() - 4);
    code
}
