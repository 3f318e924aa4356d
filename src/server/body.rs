//! Bodies of requests, within bounds.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

/// What is too large is read on so far, and thrown away: whoever still writes does not hear an answer.
const DRAINED_MAX: usize = 64 << 20;

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    TooLarge,
    /// The connection broke, or the body is not what its head says.
    Broken(String),
}

/// Reads a body of at most so many bytes.
///
/// # Errors
/// [`Unread`].
pub async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let mut read = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unread::Broken(error.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= bytes_max {
            read.extend_from_slice(data);
        } else {
            read = Vec::new();
        }
        if length > DRAINED_MAX {
            break;
        }
    }
    if length > bytes_max { Err(Unread::TooLarge) } else { Ok(read.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert!(matches!(read(Body::from("123456"), 5).await, Err(Unread::TooLarge)));
        assert_eq!(read(Body::empty(), 0).await.unwrap(), "");
    }
}
