//! The test kit tests itself: what other tests stand on must hold.

mod fault_proxy;
mod http_client;
mod mock_answers;
mod mock_faults;
mod mock_records;
mod postgres;
mod process;
mod redis;
mod wait;
