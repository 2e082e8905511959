//! Tests of the promises that every bus makes, on the bus in this process and on a real Kafka.

mod kafka_only;
mod local_only;
mod other_producers;
mod promises;
mod raw;
mod rig;

/// Defines one test per promise and bus.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod local {
            $(#[tokio::test]
            async fn $promise() {
                super::promises::$promise(&super::rig::Local::new()).await;
            })+
        }

        mod kafka {
            $(#[tokio::test]
            async fn $promise() {
                if let Some(kafka) = super::rig::Kafka::new(stringify!($promise)) {
                    super::promises::$promise(&kafka).await;
                }
            })+
        }
    };
}

promises![
    messages_of_one_key_keep_their_order,
    what_was_not_committed_is_delivered_again,
    a_committed_message_is_not_delivered_again,
    groups_do_not_disturb_each_other,
    a_new_group_starts_at_the_oldest_message,
    of_two_members_each_message_goes_to_one_and_the_other_takes_over,
    what_cannot_be_handled_is_set_aside_and_the_consumer_goes_on,
    a_full_queue_is_reported_and_counted_and_loses_nothing_it_took,
    drain_returns_when_all_is_written,
    a_tail_sees_only_what_comes_after_it,
    a_replay_begins_at_the_oldest_message_tells_the_end_and_goes_on,
    a_confirmed_message_of_metrics_is_there,
    messages_published_together_keep_their_order_or_none_is_there,
    a_message_over_the_limit_is_refused_and_one_at_the_limit_travels,
    next_returns_nothing_when_there_is_nothing_in_time,
    a_cancelled_next_loses_nothing,
    any_record_arrives_as_it_was,
];
