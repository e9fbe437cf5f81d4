//! A service that says each line back, with its number.

use crate::socket::{Socket, SocketError};

/// No line is longer than this, in bytes, with its end.
pub const MOST_LINE: usize = 16 << 10;

/// Answers each line with `Line N: ` before it, counted from 1 for each connection.
///
/// # Errors
///
/// What is wrong with the connection. A line that is too long is answered with a word about that.
pub async fn echo(mut socket: Socket) -> Result<(), SocketError> {
    let (input, output) = socket.split();
    let (mut digits, mut number) = (itoa::Buffer::new(), 0u64);
    while input.next_request().await? {
        let line = match input.read_line(MOST_LINE).await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(SocketError::TooLong { limit }) => {
                let answer = format!("a line may have {limit} bytes\n");
                return output.write_all(answer.as_bytes()).await;
            }
            Err(error) => return Err(error),
        };
        number += 1;
        for part in [b"Line ", digits.format(number).as_bytes(), b": ", line, b"\n"] {
            if !output.try_write(part) {
                output.write_all(part).await?;
            }
        }
    }
    Ok(())
}
